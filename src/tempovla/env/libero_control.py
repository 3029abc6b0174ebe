"""Robosuite's operational space control (Khatib, 1987) between two actions, while its goal stays the same."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np


class HeldGoal:
    """Torques towards the goal that the last action set: robosuite's, bit for bit, without its look-ups and copies.

    They count, being made at each of the 25 physics steps of a control step. Robosuite's compiled functions are used as
    they are.

    Args:
        model: MuJoCo's model.
        data: MuJoCo's data.
        robot: robosuite's arm, with an OSC_POSE controller of fixed gains and a gripper.
    """

    def __init__(self, model: Any, data: Any, robot: Any) -> None:
        self._mujoco = importlib.import_module("mujoco")
        self._compiled = importlib.import_module("robosuite.utils.control_utils")
        self._model, self._data, self._robot = model, data, robot
        self._site = robot.eef_site_id
        self._positions, self._velocities = robot._ref_joint_pos_indexes, robot._ref_joint_vel_indexes
        self._motors, self._fingers = robot._ref_joint_actuator_indexes, robot._ref_joint_gripper_actuator_indexes
        self._low, self._high = robot.torque_limits
        finger_range = model.actuator_ctrlrange[self._fingers]
        self._finger_middle = 0.5 * (finger_range[:, 1] + finger_range[:, 0])
        self._finger_reach = 0.5 * (finger_range[:, 1] - finger_range[:, 0])
        self._jacobians = np.zeros((3, model.nv)), np.zeros((3, model.nv))
        self._inertia = np.zeros((model.nv, model.nv))

    def apply(self, gripper_action: np.ndarray) -> None:
        """Set the controls of the next physics step; positions, velocities and forces must be up to date."""
        data, controller = self._data, self._robot.controller
        linear, angular = self._jacobians
        self._mujoco.mj_jacSite(self._model, data, linear, angular, self._site)
        self._mujoco.mj_fullM(self._model, self._inertia, data.qM)
        columns = self._velocities
        inertia = self._inertia[columns, :][:, columns]
        to_linear, to_angular = np.array(linear[:, columns]), np.array(angular[:, columns])
        to_both = np.vstack([to_linear, to_angular])
        _, mass, rotational_inertia, free = self._compiled.opspace_matrices(inertia, to_both, to_linear, to_angular)

        rotation = data.site_xmat[self._site].reshape(3, 3)
        position_error = controller.goal_pos - data.site_xpos[self._site]
        rotation_error = self._compiled.orientation_error(controller.goal_ori, rotation)
        stiffness, damping, velocity = controller.kp, controller.kd, data.qvel
        force = position_error * stiffness[:3] + -np.dot(linear, velocity) * damping[:3]
        torque = rotation_error * stiffness[3:] + -np.dot(angular, velocity) * damping[3:]
        wrench = np.concatenate([np.dot(mass, force), np.dot(rotational_inertia, torque)])
        torques = np.dot(to_both.T, wrench) + data.qfrc_bias[columns]
        joints, speeds = data.qpos[self._positions], velocity[columns]
        torques += self._compiled.nullspace_torques(inertia, free, controller.initial_joint, joints, speeds)
        data.ctrl[self._motors] = np.clip(torques, self._low, self._high)
        fingers = self._robot.gripper.format_action(gripper_action)
        data.ctrl[self._fingers] = self._finger_middle + self._finger_reach * fingers
