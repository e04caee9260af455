"use strict";
// Ask whether there is news; where there is, load the page anew and stay where the reader was.
(() => {
  const said = document.getElementById("live");
  const every = 2000;
  const boxes = () => [...document.querySelectorAll("#levels input")];
  const nameOf = (box) => `${box.closest("fieldset").querySelector("legend").textContent}\n${box.parentNode.textContent}`;
  function keep() {
    const selects = [...document.querySelectorAll("main select, #colour")].map((select) => [select.id, select.value]);
    const place = { y: scrollY, selects, off: boxes().filter((box) => !box.checked).map(nameOf) };
    try { sessionStorage.setItem("llmatrix-place", JSON.stringify(place)); } catch { /* then the page starts anew */ }
  }
  function restore() {
    let place = null;
    try { place = JSON.parse(sessionStorage.getItem("llmatrix-place")); } catch { /* as above */ }
    if (!place) return;
    for (const [id, value] of place.selects) {
      const select = document.getElementById(id);
      if (!select || select.value === value || ![...select.options].some((option) => option.value === value)) continue;
      select.value = value;
      select.dispatchEvent(new Event("change"));
    }
    for (const box of boxes()) if (place.off.includes(nameOf(box))) box.click();
    scrollTo(0, place.y);
  }
  async function ask() {
    try {
      const answer = await fetch("version", { cache: "no-store" });
      const version = await answer.text();
      said.textContent = answer.ok ? "live" : "cannot be read just now";
      if (answer.ok && version !== said.dataset.version && !document.querySelector("dialog[open]")) {
        keep();
        location.reload();
        return;
      }
    } catch {
      said.textContent = "no longer served";
    }
    setTimeout(ask, every);
  }
  const ready = setInterval(() => {
    if (document.getElementById("data") && !document.documentElement.dataset.drawn) return;
    clearInterval(ready);
    restore();
    ask();
  }, 50);
})();
