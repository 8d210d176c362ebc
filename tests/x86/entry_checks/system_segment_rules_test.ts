import { systemSegmentRules } from "../../../lib/x86/entry_checks/segment_rules.ts";
import { realMode } from "../../../lib/x86/boot/modes/real.ts";
import { testBreaches } from "./breach.ts";

testBreaches(systemSegmentRules, [
  { rule: "TR is usable", by: ({ tr }) => tr.unusable = 1, detail: "TR: unusable is 1" },
  {
    rule: "TR is a busy TSS: of type 11, or 3 outside IA-32e mode",
    by: ({ tr }) => tr.type = 3,
    detail: "TR: type is 3",
  },
  {
    rule: "TR is a busy TSS: of type 11, or 3 outside IA-32e mode",
    from: realMode,
    by: ({ tr }) => tr.type = 9,
    detail: "TR: type is 9",
  },
  {
    rule: "A usable LDTR is of type 2",
    by: ({ ldt }) => Object.assign(ldt, { unusable: 0, present: 1, type: 3 }),
    detail: "LDT: type is 3",
  },
  {
    rule: "TR, and LDTR where usable, selects a descriptor in the GDT (TI = 0)",
    by: ({ tr }) => tr.selector |= 4,
    detail: "TR: selector is 0x1c",
  },
  {
    rule: "TR, and LDTR where usable, has a canonical base",
    by: ({ ldt }) => Object.assign(ldt, { unusable: 0, present: 1, type: 2, base: 1n << 60n }),
    detail: "LDT: base is 0x1000000000000000",
  },
  {
    rule: "TR, and LDTR where usable, is a system segment (S = 0)",
    by: ({ tr }) => tr.s = 1,
    detail: "TR: s is 1",
  },
  {
    rule: "TR, and LDTR where usable, is present",
    by: ({ tr }) => tr.present = 0,
    detail: "TR: present is 0",
  },
  {
    rule: "TR, and LDTR where usable, has a granularity (G) that fits the limit",
    by: ({ tr }) => tr.g = 1,
    detail: "TR: limit is 0x67, g is 1",
  },
]);
