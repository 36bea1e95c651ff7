// Docutils calls each entry of a bibliography what no list may hold; to a screen reader they are items of the list.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  for (const entry of document.querySelectorAll(".citation-list > .citation")) entry.role = "listitem";
});
