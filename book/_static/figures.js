// Draws the figures of a page. Plotly is fetched only where there are any, and after all else has been shown.
"use strict";

const PAGE = 880; // CSS pixels of height, with room for a caption
const plotly = new URL("plotly.min.js", document.currentScript.src);

function load(script) {
  const element = document.createElement("script");
  element.src = script;
  return new Promise((resolve, reject) => {
    element.onload = resolve;
    element.onerror = reject;
    document.head.append(element);
  });
}

async function draw(figure) {
  const { data, layout } = JSON.parse(figure.querySelector("script").textContent);
  const config = {
    displayModeBar: true,
    displaylogo: false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    responsive: true,
    toImageButtonOptions: { format: "svg", filename: fileName(figure.querySelector("figcaption").textContent) },
  };
  await Plotly.newPlot(figure.querySelector(".plotly-graph-div"), data, layout, config);
  for (const drawing of figure.querySelectorAll(".main-svg")) drawing.setAttribute("aria-hidden", "true"); // has a label
}

async function drawAll() {
  const figures = document.querySelectorAll(".plotly-figure");
  if (figures.length) await load(plotly);
  for (const figure of figures) await draw(figure);
  if (matchMedia("print").matches) fit(true);
}

/** On paper they are as wide as the text, and smaller where they would be higher than a page. */
function fit(paper) {
  for (const figure of document.querySelectorAll(".js-plotly-plot")) {
    const zoom = paper ? Math.min(1, PAGE / (figure.layout.height ?? PAGE)) : 1;
    figure.closest("figure").style.zoom = zoom;
    Plotly.Plots.resize(figure);
  }
}

addEventListener("load", drawAll);
matchMedia("print").addEventListener("change", (medium) => fit(medium.matches));
