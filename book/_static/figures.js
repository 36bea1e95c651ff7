// Figures follow the book's light or dark theme: their text takes the page's colour.
"use strict";

function followTheme() {
  const colour = getComputedStyle(document.body).color;
  for (const figure of document.querySelectorAll(".js-plotly-plot")) {
    Plotly.relayout(figure, { "font.color": colour });
  }
}

window.addEventListener("load", () => {
  followTheme();
  new MutationObserver(followTheme).observe(document.documentElement, { attributeFilter: ["data-theme"] });
});
