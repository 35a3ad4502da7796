/* Keys press buttons and follow links that name them in data-key. Pages work without this file. */
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const typing = (node) => node.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Escape" && typing(event.target)) { event.target.blur(); return; }
    if (typing(event.target)) return;
    const key = event.key.toLowerCase();
    const node = Array.from(document.querySelectorAll("[data-key]")).find((each) => each.dataset.key === key);
    if (!node || event.repeat) return;
    event.preventDefault();
    if (node.matches("input, textarea")) node.focus();
    else node.click();
  });
  document.addEventListener("submit", (event) => {
    if (event.target.matches("form.once")) {
      if (event.target.dataset.sent) { event.preventDefault(); return; }
      event.target.dataset.sent = "1";
      event.target.classList.add("htmx-request");
    }
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form.once")) { delete form.dataset.sent; form.classList.remove("htmx-request"); }
  });
})();
