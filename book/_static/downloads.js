// What a page shows can be taken away: a button at every table saves it as CSV, a link at every picture its file.
// Plotly's figures have a button of their own for that.
"use strict";

const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "");

/** Of the page's title and the first words of a caption. */
function fileName(caption) {
  const title = document.querySelector("article h1").firstChild.textContent;
  return slug(`${title} ${caption.trim().split(/\s+/).slice(0, 8).join(" ")}`);
}

/** A node's text with formulas as their TeX source. */
function textOf(node, formulas) {
  if (formulas.has(node)) return formulas.get(node);
  if (node.nodeType === Node.TEXT_NODE) return node.data;
  return [...node.childNodes].map((child) => textOf(child, formulas)).join("");
}

/** TeX sources by the elements that MathJax has put in their place. */
function typesetFormulas() {
  const typeset = window.MathJax?.startup?.document?.math ?? [];
  return new Map([...typeset].map((formula) => [formula.typesetRoot, formula.math]));
}

function csvOf(table) {
  const formulas = typesetFormulas();
  const quoted = (cell) => `"${textOf(cell, formulas).trim().replaceAll(/\s+/g, " ").replaceAll('"', '""')}"`;
  return [...table.rows].map((row) => [...row.cells].map(quoted).join(",") + "\r\n").join("");
}

/** The table's caption, or else the heading that it stands under. */
function titleOf(table) {
  const title = (table.caption ?? table.closest("section").querySelector("h1, h2, h3, h4")).cloneNode(true);
  for (const link of title.querySelectorAll(".headerlink")) link.remove();
  return title.textContent.trim();
}

function save(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 0);
}

function offer(table, title, name) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "save";
  button.textContent = "Save as CSV";
  button.setAttribute("aria-label", `Save the table ‘${title}’ as CSV`);
  button.addEventListener("click", () => save(csvOf(table), `${name}.csv`));
  const container = table.closest(".pst-scrollable-table-container");
  if (container) container.tabIndex = 0; // so that a table wider than the page can be scrolled with keys
  (container ?? table).after(button);
}

function offerAll() {
  const seen = {};
  for (const table of document.querySelectorAll("article table")) {
    const title = titleOf(table);
    const name = fileName(title);
    seen[name] = (seen[name] ?? 0) + 1;
    offer(table, title, seen[name] > 1 ? `${name}-${seen[name]}` : name);
  }
  for (const picture of document.querySelectorAll("article figure img")) {
    const link = document.createElement("a");
    link.className = "save";
    link.href = picture.src;
    link.download = "";
    link.textContent = "Save the picture";
    picture.closest("figure").append(link);
  }
}

document.addEventListener("DOMContentLoaded", offerAll);
