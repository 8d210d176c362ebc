import { explainIncident } from "../../x86/diagnosis/explain_incident.ts";
import { hex } from "../../x86/hex.ts";
import { imageBaseAt } from "../registers/code_location.ts";
import type { Postmortem } from "./postmortem.ts";
import type { StoppedCpu } from "./stopped_cpu.ts";

/** Columns of a finding's text. */
const COLUMNS = 100;

/** Why a guest could not go on: the chain of causes in words, as lines of a page. */
export function whatHappened({ cpu, incident }: Postmortem): string[] {
  const names = (linear: bigint) => nameOf(cpu, linear);
  return [
    "what happened",
    ...explainIncident(incident, names).flatMap(({ text }) =>
      wrapped(text).map((line, index) => `${index === 0 ? "    " : "      "}${line}`)
    ),
  ];
}

/** `"entry32+0x3 (boot.asm:14)"`; undefined where the image has nothing there. */
function nameOf({ image, registers }: StoppedCpu, linear: bigint): string | undefined {
  const { imageBase } = imageBaseAt(image, linear, registers.cs.base);
  const symbol = image.symbolAt(linear - imageBase);
  const line = image.lineOf(linear - imageBase);
  const place = line && `${line.file.split("/").at(-1)}:${line.line}`;
  if (symbol === undefined) return place;
  const name = symbol.offset === 0 ? symbol.name : `${symbol.name}+${hex(symbol.offset)}`;
  return place === undefined ? name : `${name} (${place})`;
}

function wrapped(text: string): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!;
    if (line !== "" && line.length + 1 + word.length > COLUMNS) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines;
}
