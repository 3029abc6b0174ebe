// Videos play while they are in view, never for readers who asked for less motion; a click stops or starts one.
const videos = [...document.querySelectorAll("video")];
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const button = document.getElementById("pause");
let paused = still;

const update = (video) => (video.dataset.visible && !paused ? video.play().catch(() => {}) : video.pause());
const watch = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) target.dataset.visible = "1";
    else delete target.dataset.visible;
    update(target);
  }
});
for (const video of videos) {
  watch.observe(video);
  video.addEventListener("click", () => (video.paused ? video.play() : video.pause()));
}
if (button) {
  const label = () => (button.textContent = paused ? "Play all" : "Pause all");
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    videos.forEach(update);
    label();
  });
  label();
}
