import script from "./viewer_page.js" with { type: "text" };
import style from "./viewer_page.css" with { type: "text" };
import { escaped, inScript } from "./html.ts";
import type { TraceReport } from "./trace_report.ts";

/**
 * A report as a page for a browser: one file, which needs no network. A fragment `#exit=17` is a link to an exit.
 *
 * @param files The names of the files beside it that have the same data.
 */
export function tracePage(
  report: TraceReport,
  files: { readonly json: string; readonly perfetto: string },
): string {
  const { title, test, failure, mode, cpus, kvm, date, total, exits } = report;
  const left = total === exits.length ? "" : `, of which ${exits.length} are here`;
  const facts = [
    test === undefined ? "" : title,
    `${mode} mode`,
    cpus === 1 ? "" : `${cpus} CPUs`,
    `${total} exits${left}`,
    kvm === undefined ? "" : `KVM of an emulated machine (${kvm}): right results, no real timing`,
    `${date.slice(0, 19).replace("T", " ")} UTC`,
  ].filter((each) => each !== "");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(test ?? title)}</title>
<style>${style}</style>
</head>
<body>
<header>
<nav><a href="index.html">all</a> · <a href="${escaped(files.json)}">JSON</a> · <a href="${
    escaped(files.perfetto)
  }" title="for ui.perfetto.dev">Perfetto</a> · <button id="theme">light or dark</button></nav>
<h1>${escaped(test ?? title)}</h1><span class="faint">${escaped(facts.join(" · "))}</span>
${failure === undefined ? "" : failureText(failure)}
</header>
<div id="timeline"></div>
<div id="list"><label><input id="search" type="search" placeholder="search (/), j and k: next and previous" aria-label="search exits"><span id="found" class="faint"></span></label><ol id="exits" role="listbox" aria-label="exits"></ol></div>
<main id="detail"></main>
<div id="output"></div>
<script id="data" type="application/json">${inScript(JSON.stringify(report))}</script>
<script>${script}</script>
</body>
</html>
`;
}

function failureText(failure: string): string {
  const [first] = failure.split("\n");
  return `<details id="failure"><summary>${escaped(first)}</summary><pre>${
    escaped(failure)
  }</pre></details>`;
}
