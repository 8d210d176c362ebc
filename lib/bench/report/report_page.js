// The script of the report: draws what `html_report.ts` has put beside it, by uPlot.
const { groups, unit } = JSON.parse(document.getElementById("data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const STRIP_HEIGHT = 58;
const AXIS_HEIGHT = 34;
const CURVES_HEIGHT = 320;
/** What a label of a scale takes, with a gap. */
const LABEL_WIDTH = 64;
let plots = [];

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (index, count) =>
  `hsl(${Math.round(index * 360 / count)} 65% ${dark.matches ? 65 : 42}%)`;

/** A duration in the unit that suits it. */
function duration(nanoseconds) {
  if (nanoseconds === null || nanoseconds === undefined) return "";
  if (unit === "instructions") {
    return `${nanoseconds.toLocaleString("en", { maximumFractionDigits: 0 })}`;
  }
  const units = [["ns", 1], ["µs", 1e3], ["ms", 1e6], ["s", 1e9]];
  const [name, size] = units.findLast(([, each]) => nanoseconds >= each) ?? units[0];
  return `${Number((nanoseconds / size).toPrecision(3))} ${name}`;
}

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

/** A duration as a scale has it: instructions as "20K". */
function label(nanoseconds) {
  return unit === "instructions" ? compact.format(nanoseconds) : duration(nanoseconds);
}

/** So many at most: 1, 2 and 5 of each power of ten, or 1 alone, or that of every second power, and so on. */
function ticks(from, to, most) {
  const [first, last] = [Math.floor(Math.log10(from)), Math.ceil(Math.log10(to))];
  const of = (multiples, every) =>
    Array.from({ length: last - first + 1 }, (_, index) => first + index)
      .filter((power) => power % every === 0)
      .flatMap((power) => multiples.map((each) => each * 10 ** power))
      .filter((each) => each >= from && each <= to);
  let found = of([1, 2, 5], 1);
  for (let every = 1; found.length > Math.max(2, most); every++) found = of([1], every);
  return found.length > 0 ? found : [from, to];
}

function axis(options) {
  return {
    stroke: style("--text"),
    grid: { stroke: style("--grid"), width: 1 },
    ticks: { stroke: style("--grid"), width: 1 },
    font: "12px system-ui, sans-serif",
    ...options,
  };
}

/** One benchmark's histogram; all of a group have the same scale, which stands above and below them, and one cursor. */
function strip(place, group, benchmark, { isFirst, isLast }) {
  const { edges } = group;
  const [from, to] = [edges[0], edges.at(-1)];
  const width = place.clientWidth;
  const splits = () => ticks(from, to, Math.floor(width / LABEL_WIDTH));
  const scale = { filter: (_, each) => each, splits };
  const labelled = { ...scale, size: AXIS_HEIGHT, values: (_, values) => values.map(label) };
  const middles = edges.slice(0, -1).map((edge, index) => Math.sqrt(edge * edges[index + 1]));
  const steps = uPlot.paths.stepped({ align: 0 });
  const series = [{ value: (_, value) => duration(value) }, {
    label: "share",
    stroke: style("--now"),
    fill: style("--now-area"),
    width: 1,
    paths: steps,
    points: { show: false },
    value: (_, value) => value === null ? "" : `${value.toFixed(2)} %`,
  }];
  const data = [middles, benchmark.shares];
  if (benchmark.before) {
    series.push({
      label: "baseline",
      stroke: style("--before"),
      width: 1.5,
      paths: steps,
      points: { show: false },
      value: (_, value) => value === null ? "" : `${value.toFixed(2)} %`,
    });
    data.push(benchmark.before);
  }
  return new uPlot(
    {
      width,
      height: STRIP_HEIGHT + (isFirst ? AXIS_HEIGHT : 0) + (isLast ? AXIS_HEIGHT : 0),
      padding: [isFirst ? 0 : 4, 20, isLast ? 0 : 4, 20],
      legend: { show: false },
      cursor: { sync: { key: group.name }, y: false, drag: { x: false, y: false } },
      scales: {
        x: { time: false, distr: 3, range: () => [from, to] },
        y: { range: (_, _low, high) => [0, high * 1.05 || 1] },
      },
      axes: [
        axis(isLast ? labelled : { ...scale, size: 0, ticks: { show: false }, values: () => [] }),
        { show: false },
        axis({ ...labelled, show: isFirst, scale: "x", side: 0, grid: { show: false } }),
      ],
      series,
      hooks: {
        draw: [(plot) => mark(plot, benchmark)],
        setCursor: [(plot) => {
          const { idx } = plot.cursor;
          place.nextElementSibling.textContent = idx === null || idx === undefined
            ? ""
            : `${duration(edges[idx])} – ${duration(edges[idx + 1])}: ${
              data[1][idx].toFixed(2)
            } %` +
              (data[2] ? ` (baseline ${data[2][idx].toFixed(2)} %)` : "");
        }],
      },
    },
    data,
    place,
  );
}

/** Median and p99 as lines. */
function mark(plot, { p50, p99 }) {
  const { ctx, bbox } = plot;
  ctx.save();
  for (const [value, dash] of [[p50, []], [p99, [4, 4]]]) {
    const x = Math.round(plot.valToPos(value, "x", true)) + 0.5;
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = style("--mark");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash(dash.map((each) => each * devicePixelRatio));
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

/** All benchmarks of a group by percentile: where the tails are. */
function curves(place, group) {
  const count = group.benchmarks.length;
  return new uPlot(
    {
      width: place.clientWidth,
      height: CURVES_HEIGHT,
      padding: [10, 20, 0, 10],
      cursor: { drag: { x: false, y: false } },
      scales: {
        x: { time: false, range: (_, low, high) => [low, high] },
        y: { distr: 3 },
      },
      axes: [
        axis({
          splits: () => group.percentileTicks.map(([at]) => at),
          values: () => group.percentileTicks.map(([, text]) => text),
          label: "percentile",
          labelFont: "12px system-ui, sans-serif",
        }),
        axis({
          size: 70,
          values: (_, values) => values.map((each) => each === null ? "" : label(each)),
        }),
      ],
      series: [
        {
          label: "percentile",
          value: (_, at) => at === null ? "" : `p${+(100 - 100 * 10 ** -at).toPrecision(5)}`,
        },
        ...group.benchmarks.map(({ name }, index) => ({
          label: name,
          stroke: colour(index, count),
          width: 1.5,
          points: { show: false },
          value: (_, value) => duration(value),
        })),
      ],
    },
    [group.percentiles, ...group.benchmarks.map(({ curve }) => curve)],
    place,
  );
}

function draw() {
  for (const plot of plots) plot.destroy();
  plots = [];
  for (const group of groups) {
    const section = document.getElementById(group.id);
    for (const [index, benchmark] of group.benchmarks.entries()) {
      const place = section.querySelector(`[data-strip="${index}"]`);
      const isLast = index === group.benchmarks.length - 1;
      plots.push(strip(place, group, benchmark, { isFirst: index === 0, isLast }));
    }
    const place = section.querySelector("[data-curves]");
    if (place) plots.push(curves(place, group));
  }
}

draw();
dark.addEventListener("change", draw);
let resized;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(draw, 100);
});
