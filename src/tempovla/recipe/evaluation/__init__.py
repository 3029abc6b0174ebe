"""What a policy is worth: in simulators, on demonstrations that were held out, and beside another one."""
