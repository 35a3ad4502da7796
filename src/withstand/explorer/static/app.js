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
    const nodes = Array.from(document.querySelectorAll("[data-key]")).filter((each) => each.dataset.key === key);
    const node = nodes.filter((each) => each.closest(".exchange")).pop() || nodes[0]; // of a conversation the last one
    if (!node || event.repeat) return;
    event.preventDefault();
    if (node.matches("input, textarea, select")) node.focus();
    else node.click();
  });
  document.addEventListener("submit", (event) => {
    if (event.target.matches("form.once")) {
      if (event.target.dataset.sent) { event.preventDefault(); return; }
      event.target.dataset.sent = "1";
      event.target.classList.add("htmx-request");
    }
  });
  /* Ctrl Enter sends the form; what is written is kept while it is written; a picture goes up as soon as it is chosen. */
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || !event.target.matches("textarea")) return;
    event.target.form?.querySelector("[data-send]")?.click();
  });
  const say = (form, text) => { const line = form.querySelector(".saved"); if (line) line.textContent = text; };
  let timer = 0, kept = Promise.resolve();
  const keep = (area) => {
    clearTimeout(timer);
    if (area.form.dataset.sent || area.value === area.dataset.kept) return;
    const fields = new URLSearchParams({prompt: area.value, session: area.form.elements.session.value, csrf: area.form.elements.csrf.value});
    area.dataset.kept = area.value;
    kept = kept.then(() => fetch(area.dataset.draft, {method: "POST", body: fields, keepalive: area.value.length < 15000, signal: AbortSignal.timeout(15000)}))
      .then((answer) => say(area.form, answer.ok ? "draft saved" : "the draft is not saved"))
      .catch(() => { delete area.dataset.kept; say(area.form, "the draft is not saved: no connection"); });
  };
  document.addEventListener("input", (event) => {
    if (!event.target.matches("[data-draft]")) return;
    say(event.target.form, "");
    clearTimeout(timer);
    timer = setTimeout(keep, 700, event.target);
  });
  window.addEventListener("pagehide", () => { for (const area of document.querySelectorAll("[data-draft]")) if ("kept" in area.dataset || area.value !== area.defaultValue) keep(area); });
  document.addEventListener("change", async (event) => {
    const node = event.target, file = node.files && node.files[0];
    if (!node.matches("[data-upload]") || !file) return;
    const status = node.closest("form").querySelector(".attached");
    status.textContent = "sending ...";
    try {
      const answer = await fetch(`${node.dataset.upload}?session=${encodeURIComponent(node.dataset.session)}`, {method: "POST", body: file, headers: {"Content-Type": file.type, "X-CSRF": node.dataset.csrf}});
      const said = (answer.headers.get("content-type") || "").startsWith("application/json") ? await answer.json() : {};
      status.textContent = answer.ok ? `${said.name} goes with the next record` : said.error || "this picture is refused: PNG, JPEG, GIF or WebP, 5 MB at most";
    } catch { status.textContent = "the picture was not sent: no connection"; }
    node.value = "";
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form.once")) { delete form.dataset.sent; form.classList.remove("htmx-request"); }
  });
})();
