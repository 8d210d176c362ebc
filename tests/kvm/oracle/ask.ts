import { compileAndRun } from "./c_compiler.ts";
import type { Probe } from "./probe.ts";

const PRELUDE = `
#include <stdio.h>
#include <linux/version.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
static void answer(unsigned id, unsigned long long value) { printf("%u %llu\\n", id, value); }
static unsigned long long bits(const void *at, unsigned long size) {
  unsigned long long first = 0, count = 0;
  for (unsigned long bit = 0; bit < size * 8; bit++)
    if (((const unsigned char *)at)[bit / 8] >> (bit % 8) & 1) { if (!count) first = bit; count++; }
  return first << 32 | count;
}
int main(void) {
`.trimStart();

/**
 * Asks the compiler every probe at once. What the header lacks does not compile, and is undefined in the answers.
 */
export async function ask(probes: readonly Probe[]): Promise<(bigint | undefined)[]> {
  const lines = probes.map(({ code }, id) => code.replace("%ID", String(id)));
  const firstLine = PRELUDE.split("\n").length;
  for (;;) {
    const compiled = await compileAndRun(`${PRELUDE}${lines.join("\n")}\nreturn 0; }\n`);
    if ("output" in compiled) {
      const answers = new Array<bigint | undefined>(probes.length);
      for (const [, id, value] of compiled.output.matchAll(/^(\d+) (\d+)$/gm)) {
        answers[Number(id)] = BigInt(value);
      }
      return answers;
    }
    for (const line of compiled.wrongLines) {
      const id = line - firstLine;
      if (lines[id] === undefined || lines[id] === "") {
        throw new Error(`The oracle's own C is wrong in line ${line}`);
      }
      lines[id] = "";
    }
  }
}

const VERSION: Probe = {
  name: "LINUX_VERSION_CODE",
  code: "answer(%ID, LINUX_VERSION_CODE);",
  expected: 0n,
};

/** The version of Linux that the header is of: `[6, 1, 187]`. */
export async function headerVersion(): Promise<[major: number, minor: number, patch: number]> {
  const [code] = await ask([VERSION]);
  const number = Number(code);
  return [number >> 16, number >> 8 & 0xff, number & 0xff];
}
