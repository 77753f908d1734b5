// What HTML cannot do by itself: the theme's switch, drawings, choosing all rows, following a log.

const root = document.documentElement;

function isDark() {
  return getComputedStyle(root).colorScheme === "dark" ||
    (root.dataset.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
}

document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  drawAll(document);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));

// Drawings: the server says data and layout, the stylesheet colours and fonts.

function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function draw(figure) {
  const source = figure.querySelector("script[type='application/json']");
  if (!source || !window.Plotly) return;
  const { data, layout } = JSON.parse(source.textContent);
  const text = colour("text"), line = colour("line");
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  const ours = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: text, family: getComputedStyle(document.body).fontFamily, size: 13 },
    margin: { l: 48, r: 12, t: 32, b: 40 }, height: 280,
    colorway: [1, 2, 3, 4, 5, 6].map((n) => colour(`series-${n}`)),
    legend: { orientation: "h", y: -0.25 },
    hoverlabel: { bgcolor: colour("raised"), font: { color: text } },
    ...layout,
  };
  for (const name of new Set(["xaxis", "yaxis", ...Object.keys(layout).filter((key) => /^[xy]axis/.test(key))])) {
    ours[name] = { ...axis, ...layout[name] };
  }
  let place = figure.querySelector(".plot");
  if (!place) {
    place = document.createElement("div");
    place.className = "plot";
    figure.append(place);
  }
  Plotly.react(place, data, ours, { displaylogo: false, responsive: true, displayModeBar: "hover" });
}

function drawAll(within) {
  within.querySelectorAll("figure.chart").forEach(draw);
}

addEventListener("load", () => drawAll(document));
document.addEventListener("htmx:afterSwap", (event) => {
  const figure = event.target.closest?.("figure.chart");
  if (figure) draw(figure);
  else drawAll(event.target);
});

// A box that chooses every row of its table, and how many are chosen.

document.addEventListener("change", (event) => {
  const table = event.target.closest("table[data-choose]");
  if (!table) return;
  const boxes = [...table.querySelectorAll("tbody input[type=checkbox]")];
  const all = table.querySelector("thead input[type=checkbox]");
  if (event.target === all) boxes.forEach((box) => { box.checked = all.checked; });
  const chosen = boxes.filter((box) => box.checked).length;
  all.checked = chosen === boxes.length && chosen > 0;
  all.indeterminate = chosen > 0 && chosen < boxes.length;
  const said = document.getElementById(table.dataset.choose);
  said.textContent = chosen ? `${chosen} chosen` : "";
  said.closest("form").querySelectorAll("button[name=verb]").forEach((button) => { button.disabled = !chosen; });
});

// A log that is read at its end goes on showing its end.

document.addEventListener("htmx:sseBeforeMessage", (event) => {
  const log = event.target.closest?.(".log");
  if (log) log.dataset.follow = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
});
document.addEventListener("htmx:sseMessage", (event) => {
  const log = event.target.closest?.(".log");
  if (log?.dataset.follow === "true") log.scrollTop = log.scrollHeight;
});

// A form that makes something is sent once, however often its button is pressed.

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-once]")) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
addEventListener("pageshow", () => document.querySelectorAll("[data-sent]").forEach((form) => delete form.dataset.sent));
