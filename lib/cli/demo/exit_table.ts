import { describeExit } from "../../kvm/exits/describe_exit.ts";
import type { IoExit, MmioExit } from "../../kvm/exits/exit.ts";
import type { ObservedExit } from "../../machine/run/run_options.ts";
import { hex } from "../../x86/hex.ts";

/** The columns: rows are printed as exits happen, so their widths are known before their contents. */
const COLUMNS = [
  { title: "#", width: 4, right: true },
  { title: "kind", width: 10 },
  { title: "port/address", width: 12 },
  { title: "size", width: 4, right: true },
  { title: "data", width: 22 },
  { title: "answered by", width: 0 },
] as const;

const GAP = "  ";
const ELLIPSIS = "…";
const DIGITS_PER_BYTE = 2;

/** The head of a table of exits. */
export function exitTableHead(): string {
  return line(COLUMNS.map(({ title }) => title));
}

/** One exit as a row of such a table. */
export function exitRow(
  { number, exit, fault, description, answeredBy, value }: ObservedExit,
): string {
  if (fault !== undefined) return wholeRow(String(number), fault.text);
  if (description !== undefined) return wholeRow(String(number), description);
  switch (exit.reason) {
    case "IO":
      return line([
        String(number),
        `IO ${exit.direction}`,
        hex(exit.port),
        exit.count === 1 ? String(exit.size) : `${exit.size}×${exit.count}`,
        dataText(exit, value),
        answeredBy ?? "nobody",
      ]);
    case "MMIO":
      return line([
        String(number),
        `MMIO ${exit.isWrite ? "write" : "read"}`,
        hex(exit.gpa),
        String(exit.len),
        dataText(exit, value),
        answeredBy ?? "nobody",
      ]);
    default:
      return wholeRow(String(number), describeExit(exit));
  }
}

/** A row about something that is no access: its text takes all columns but the first. */
export function wholeRow(number: string, text: string): string {
  return line([number]) + GAP + text;
}

function line(cells: readonly string[]): string {
  return cells.map((cell, index) => {
    const column = COLUMNS[index];
    return GAP + ("right" in column ? cell.padStart(column.width) : cell.padEnd(column.width));
  }).join("").trimEnd();
}

/** What was written, or what a read was answered with; with its character, or as text where it is several. */
function dataText({ data, ...exit }: IoExit | MmioExit, value: bigint | undefined): string {
  if ("count" in exit && exit.count > 1 && exit.direction === "out") {
    return cut(JSON.stringify(String.fromCharCode(...data)));
  }
  if (value === undefined) return "";
  const size = "size" in exit ? exit.size : exit.len;
  const digits = value.toString(16).padStart(DIGITS_PER_BYTE * size, "0");
  return `0x${digits}${data.length === 1 ? characterText(Number(value)) : ""}`;
}

function characterText(byte: number): string {
  const isPrintable = byte >= 0x20 && byte <= 0x7e;
  if (!isPrintable && byte !== 0x0a) return "";
  return ` ${JSON.stringify(String.fromCharCode(byte))}`;
}

function cut(text: string): string {
  const { width } = COLUMNS[4];
  return text.length <= width ? text : text.slice(0, width - ELLIPSIS.length) + ELLIPSIS;
}
