// The script of a test's report: shows what `trace_page.ts` has put beside it. It needs no network.
const report = JSON.parse(document.getElementById("data").textContent);
const { exits, sources } = report;
const KINDS = ["IO", "MMIO", "HLT", "SHUTDOWN", "DEBUG"];
const LANE = 22;
const LABEL = 52;
const SOURCE_AROUND = 6;
const BYTES_IN_ROW = 16;
/** rip, rflags and the general registers come first. */
const GENERAL_REGISTERS = 18;
const byId = (id) => document.getElementById(id);
const kindOf = ({ reason }) => KINDS.includes(reason) ? reason : "other";

let chosen = -1;
let shown = exits.map((_, index) => index);

/** An element with text or children; nothing is ever read as HTML. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** All registers of an exit's CPU: what changed at it, over what changed before. */
function registersAt(index) {
  const all = {};
  for (const exit of exits.slice(0, index + 1)) {
    if (exit.cpu === exits[index].cpu) Object.assign(all, exit.registers);
  }
  return all;
}

function section(title, ...children) {
  return children.length === 0
    ? []
    : [element("section", {}, element("h2", {}, title), ...children)];
}

function lines(texts) {
  return element("pre", {}, texts.join("\n"));
}

function source({ file, line } = {}) {
  const excerpt = sources[file]?.find(({ first, lines }) =>
    first <= line && line < first + lines.length
  );
  if (excerpt === undefined) return [];
  const pre = element("pre");
  excerpt.lines.forEach((text, index) => {
    const number = excerpt.first + index;
    if (Math.abs(number - line) > SOURCE_AROUND) return;
    const row = element(
      "span",
      number === line ? { class: "here" } : {},
      `${String(number).padStart(5)}  ${text}\n`,
    );
    pre.append(row);
  });
  return section(`${file}:${line}`, pre);
}

function code({ code, linear } = { code: [] }) {
  const rows = code.map(({ address, bytes, text }) =>
    element(
      "tr",
      address === linear ? { class: "here" } : {},
      ...[address, bytes, text].map((each) => element("td", {}, each)),
    )
  );
  return rows.length === 0 ? [] : section("instructions", element("table", {}, ...rows));
}

function registers(index) {
  const all = Object.entries(registersAt(index));
  const { registers } = exits[index];
  // All are given where it is not known what they were before.
  const changed = Object.keys(registers).length < all.length ? registers : {};
  const rows = all.map(([name, value]) =>
    element(
      "tr",
      name in changed ? { class: "changed", title: "changed since this CPU's exit before" } : {},
      element("td", {}, name),
      element("td", {}, value),
    )
  );
  const tables = [rows.slice(0, GENERAL_REGISTERS), rows.slice(GENERAL_REGISTERS)]
    .map((each) => element("table", {}, ...each));
  return section("registers", element("div", { class: "tables" }, ...tables));
}

function memory({ memory, memoryNote }) {
  const rows = memory.map(({ gpa, before, after }) =>
    element(
      "tr",
      {},
      element("td", {}, gpa),
      element("td", { class: "faint" }, before),
      element("td", { class: "changed" }, after),
    )
  );
  const note = memoryNote === undefined ? [] : [element("p", { class: "faint" }, memoryNote)];
  return section(
    "memory that changed",
    ...rows.length === 0 ? [] : [element("table", {}, ...rows)],
    ...note,
  );
}

function stack({ stack }) {
  if (stack === undefined) return [];
  const bytes = stack.bytes.split(" ");
  const rows = [];
  for (let at = 0; at < bytes.length; at += BYTES_IN_ROW) {
    const address = `0x${(BigInt(stack.linear) + BigInt(at)).toString(16)}`;
    rows.push(`${address}  ${bytes.slice(at, at + BYTES_IN_ROW).join(" ")}`);
  }
  return section("stack", lines(rows));
}

function screenAt(index) {
  return exits.slice(0, index + 1).findLast(({ screen }) => screen !== undefined)?.screen ?? "";
}

/** What the guest had written by then, and, faintly, what it has written since. */
function output(index) {
  const { serial } = exits[index];
  const screen = screenAt(index);
  return [
    ...report.serial === "" ? [] : section(
      "serial line",
      element(
        "pre",
        {},
        element("span", { id: "written" }, report.serial.slice(0, serial)),
        element("span", { class: "faint" }, report.serial.slice(serial)),
      ),
    ),
    ...screen === "" ? [] : section("screen", element("pre", { class: "screen" }, screen)),
  ];
}

/** An exit in the words of the list: a read with its answer. */
function wordsOf({ text, value, description, fault }) {
  const isRead = value !== undefined && /^(IO in|MMIO read)/.test(text);
  return [isRead ? `${text} → ${value}` : text, description, fault]
    .filter((each) => each !== undefined).join("  ");
}

function detail(index) {
  const exit = exits[index];
  const { number, cpu, time, answeredBy, place, note } = exit;
  const facts = [
    report.cpus > 1 ? `CPU ${cpu}` : "",
    `${time.toFixed(3)} ms`,
    place?.symbol ?? place?.linear ?? "",
    answeredBy === undefined ? "nobody answered" : `answered by ${answeredBy}`,
    note ?? "",
  ].filter((each) => each !== "");
  return [
    element("h1", {}, `${number}  ${wordsOf(exit)}`),
    element("a", { href: `#exit=${number}`, title: "a link to this exit" }, "#"),
    element("p", { class: "faint" }, facts.join(" · ")),
    element(
      "div",
      { class: "columns" },
      element(
        "div",
        {},
        ...source(place),
        ...code(place),
        ...memory(exit),
        ...stack(exit),
        ...exit.walk.length === 0 ? [] : section("page tables", lines(exit.walk)),
      ),
      element("div", {}, ...registers(index)),
    ),
  ];
}

/** Scrolls an element, and nothing around it, until what lies in it is seen. */
function reveal(scrolled, { top, bottom }) {
  const frame = scrolled.getBoundingClientRect();
  if (top < frame.top) scrolled.scrollTop -= frame.top - top;
  else if (bottom > frame.bottom) scrolled.scrollTop += bottom - frame.bottom;
}

function choose(index, isLinked = true) {
  if (index < 0 || index >= exits.length) return;
  chosen = index;
  // A link or the timeline may name one that the search has left out.
  if (!shown.includes(index)) {
    byId("search").value = "";
    find("");
    list();
  }
  for (const row of byId("exits").children) {
    const isIt = Number(row.dataset.index) === index;
    row.setAttribute("aria-selected", isIt);
    if (isIt) reveal(byId("exits"), row.getBoundingClientRect());
  }
  for (const mark of document.querySelectorAll("#timeline rect")) {
    mark.classList.toggle("chosen", Number(mark.dataset.index) === index);
  }
  byId("detail").replaceChildren(...detail(index));
  byId("output").replaceChildren(...output(index));
  const written = byId("written");
  const [lastLine] = [...written?.getClientRects() ?? []].slice(-1);
  if (lastLine !== undefined) reveal(written.parentElement, lastLine);
  if (isLinked) history.replaceState(null, "", `#exit=${exits[index].number}`);
}

/** Says how many exits are missing before one. */
function gap(index) {
  const missing = index === 0 ? 0 : exits[index].number - exits[index - 1].number - 1;
  return missing === 0 ? [] : [element("li", { class: "gap" }, `${missing} exits left out`)];
}

function list() {
  byId("exits").replaceChildren(...shown.flatMap((index) => {
    const exit = exits[index];
    const words = wordsOf(exit);
    const row = element(
      "li",
      {
        role: "option",
        "data-index": index,
        style: `--kind: var(--${kindOf(exit)})`,
        title: words,
      },
      element("span", { class: "number" }, exit.number),
      ` ${report.cpus > 1 ? `${exit.cpu}│ ` : ""}${words}`,
    );
    row.addEventListener("click", () => choose(index));
    return [...gap(index), row];
  }));
  byId("found").textContent = shown.length === exits.length
    ? ""
    : `${shown.length} of ${exits.length}`;
}

function find(text) {
  const words = text.toLowerCase().split(/\s+/).filter((word) => word !== "");
  shown = exits.map((_, index) => index).filter((index) => {
    const exit = exits[index];
    const { number, answeredBy, place } = exit;
    const all = [
      number,
      wordsOf(exit),
      answeredBy,
      place?.symbol,
      `${place?.file}:${place?.line}`,
    ].join(" ").toLowerCase();
    return words.every((word) => all.includes(word));
  });
}

function search(text) {
  find(text);
  list();
  if (shown.length > 0) choose(shown.includes(chosen) ? chosen : shown[0]);
}

function timeline() {
  const SVG = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(SVG, "svg");
  const width = byId("timeline").clientWidth - 32;
  svg.setAttribute("height", report.cpus * LANE);
  svg.setAttribute("viewBox", `0 0 ${width} ${report.cpus * LANE}`);
  const step = (width - LABEL) / Math.max(1, exits.length);
  for (let cpu = 0; cpu < report.cpus; cpu++) {
    const label = document.createElementNS(SVG, "text");
    label.setAttribute("y", cpu * LANE + LANE / 2 + 4);
    label.textContent = `CPU ${cpu}`;
    svg.append(label);
  }
  exits.forEach((exit, index) => {
    const mark = document.createElementNS(SVG, "rect");
    mark.setAttribute("x", LABEL + index * step);
    mark.setAttribute("y", exit.cpu * LANE + 3);
    mark.setAttribute("width", Math.max(1, Math.min(step - 1, 24)));
    mark.setAttribute("height", LANE - 6);
    mark.setAttribute("fill", `var(--${kindOf(exit)})`);
    mark.dataset.index = index;
    const title = document.createElementNS(SVG, "title");
    title.textContent = `${exit.number}  ${exit.text}`;
    mark.append(title);
    mark.addEventListener("click", () => choose(index));
    svg.append(mark);
  });
  byId("timeline").replaceChildren(svg);
}

function linked() {
  const number = Number(/^#exit=(\d+)$/.exec(location.hash)?.[1]);
  const index = exits.findIndex((exit) => exit.number === number);
  choose(index >= 0 ? index : exits.length - 1, index >= 0);
}

function theme(name) {
  document.documentElement.dataset.theme = name;
}

const MOVES = {
  ArrowDown: 1,
  j: 1,
  ArrowUp: -1,
  k: -1,
  PageDown: 20,
  PageUp: -20,
  Home: -Infinity,
  End: Infinity,
};
addEventListener("keydown", (event) => {
  const isTyping = document.activeElement === byId("search");
  if (event.key === "/" && !isTyping) {
    byId("search").focus();
    event.preventDefault();
  } else if (event.key === "Escape") {
    document.activeElement.blur();
  } else if (
    event.key in MOVES && !(isTyping && event.key.length === 1) && !event.ctrlKey && !event.metaKey
  ) {
    const at = Math.max(0, shown.indexOf(chosen)) + MOVES[event.key];
    choose(shown[Math.min(shown.length - 1, Math.max(0, at))] ?? -1);
    event.preventDefault();
  }
});
addEventListener("hashchange", linked);
addEventListener("resize", () => {
  timeline();
  if (chosen >= 0) choose(chosen, false);
});
byId("search").addEventListener("input", ({ target }) => search(target.value));
byId("theme").addEventListener(
  "click",
  () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
);
theme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
list();
timeline();
linked();
