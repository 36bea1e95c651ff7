// What a screen reader is not told by the theme and by docutils.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  // docutils calls each entry of a bibliography what no list may hold; they are items of the list.
  for (const entry of document.querySelectorAll(".citation-list > .citation")) entry.role = "listitem";
  // The theme shows what unfolds a part of the contents as a mere arrow.
  for (const arrow of document.querySelectorAll("nav li.has-children > details > summary")) {
    arrow.setAttribute("aria-label", `Pages of ${arrow.closest("li").querySelector("a").textContent.trim()}`);
  }
});
