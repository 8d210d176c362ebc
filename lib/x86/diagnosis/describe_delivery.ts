import { exceptions } from "../exceptions/exceptions.ts";
import { hex, hexBytes } from "../hex.ts";
import {
  type DeliveryChain,
  DOUBLE_FAULT,
  type Event,
  type Handler,
  makesDoubleFault,
} from "./delivery.ts";
import type { GuestView } from "./guest_view.ts";
import type { Finding, SeenException } from "./incident.ts";
import { writersText } from "./history.ts";
import { nearestLabel } from "./nearest_label.ts";
import { checkPages } from "./memory_rules.ts";
import { cause } from "./raised.ts";

/** What differs between two refusals for the same reason: the vector, and where its entry lies. */
const VARYING = /entry \d+|vector \w+|\(bytes [^)]*\)|, at 0x.*?, is/g;

/** The failures in words: why the first was not delivered, then what came of it. */
export function describeChain(
  view: GuestView,
  { failures, handler, stuck }: DeliveryChain,
  first: Event,
  title: string,
): Finding[] {
  const findings: Finding[] = [];
  const told = new Set<string>();
  let name = title;
  let { source } = first;
  for (const { vector, raised } of failures) {
    const isDouble = source === undefined && makesDoubleFault(vector, raised.vector);
    const isLast = source === undefined && vector === DOUBLE_FAULT;
    const next = isLast ? "triple fault" : isDouble ? `${nameOf(raised)} → #DF` : nameOf(raised);
    const rule = raised.reason.replaceAll(VARYING, "");
    if (told.has(rule)) {
      const latest = findings.findLastIndex(({ kind }) => kind === "delivery");
      const text = `${findings[latest].text} (the same holds for vector ${vector}) → ${next}`;
      findings[latest] = { ...findings[latest], text };
    } else {
      const descriptor = raised.causes.find((each) => each.descriptor !== undefined)?.descriptor;
      findings.push(...raised.causes, {
        kind: "delivery",
        text: `${name} is not delivered: ${raised.reason} → ${next}`,
        ...descriptor === undefined ? {} : { descriptor },
      });
    }
    told.add(rule);
    name = isDouble ? "#DF" : nameOf(raised);
    source = undefined;
  }
  if (stuck !== undefined) {
    findings.push({ kind: "delivery", text: `${name} cannot be delivered: ${stuck.reason}` });
  }
  if (handler !== undefined) {
    findings.push({
      kind: "delivery",
      text: `${name} is delivered to ${hex(handler.selector, 4)}:${view.place(handler.linear)}`,
      linear: handler.linear,
    }, ...handlerFaults(view, handler));
  }
  return findings;
}

/** What is wrong with a handler's address: nothing is mapped there, or no code is; and the one that may be meant. */
function handlerFaults(view: GuestView, { linear, descriptor }: Handler): Finding[] {
  const unmapped = checkPages(view, linear, 1, { fetch: true, implicit: true });
  const bytes = view.read(linear, 2);
  const reason = unmapped !== undefined
    ? `the handler cannot be fetched: ${nameOf(unmapped)}, ${unmapped.reason}`
    : bytes === undefined
    ? "there is no memory at the handler"
    : bytes.every((byte) => byte === 0)
    ? "zeros lie at the handler"
    : undefined;
  if (reason === undefined && !view.isNoInstruction(linear)) return [];
  const meant = nearestLabel(view, linear);
  if (reason === undefined && meant === "" && view.name(linear) === undefined) return [];
  const gate = descriptor === undefined
    ? ""
    : `: ${descriptor.table}[${descriptor.index}] at ${view.place(descriptor.linear)} is ${
      hexBytes(descriptor.bytes)
    }, offset ${hex(linear)}${writersText(view, descriptor.linear, descriptor.bytes.length)}`;
  return [
    cause(`${reason ?? "no instruction begins at the handler"}${gate}${meant}`, {
      linear: descriptor?.linear ?? linear,
      ...descriptor === undefined ? {} : { descriptor },
    }),
  ];
}

/** An exception with its error code: `#GP(0x32)`. EXT, which vendors set differently, is left out. */
export function nameOf({ vector, errorCode }: SeenException): string {
  const name = exceptions[vector]?.name ?? `vector ${vector}`;
  return errorCode === undefined ? name : `${name}(${errorCode === 0 ? 0 : hex(errorCode)})`;
}
