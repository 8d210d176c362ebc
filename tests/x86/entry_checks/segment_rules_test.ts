import { segmentRules, systemSegmentRules } from "../../../lib/x86/entry_checks/segment_rules.ts";
import { longMode } from "../../../lib/x86/boot/modes/long.ts";
import { realMode } from "../../../lib/x86/boot/modes/real.ts";
import { testBreaches, user, virtual8086 } from "./breach.ts";

testBreaches(segmentRules, [
  {
    rule: "SS.RPL equals CS.RPL, unless the guest is unrestricted or virtual-8086",
    from: () => ({ ...user(), unrestrictedGuest: false }),
    by: ({ cs }) => cs.selector &= ~3,
    detail: "SS: RPL is 3, that of CS is 0",
  },
  {
    rule: "A virtual-8086 segment's base is 16 times its selector",
    from: virtual8086,
    by: ({ es }) => es.base = 0x10n,
    detail: "ES: base is 0x10, the selector 0x0",
  },
  {
    rule: "The base is canonical",
    by: ({ gs }) => gs.base = 1n << 47n,
    detail: "GS: base is 0x800000000000",
  },
  {
    rule: "The base has at most 32 bits",
    by: ({ ds }) => ds.base = 1n << 32n,
    detail: "DS: base is 0x100000000",
  },
  {
    rule: "A virtual-8086 segment's limit is 0xffff",
    from: virtual8086,
    by: ({ ds }) => ds.limit = 0xf_ffff,
    detail: "DS: limit is 0xfffff",
  },
  {
    rule: "A virtual-8086 segment's access rights are 0xf3",
    from: virtual8086,
    by: ({ cs }) => Object.assign(cs, { type: 0xb, db: 1 }),
    detail: "CS: type is 11, db is 1",
  },
  {
    rule: "CS is accessed code, or in an unrestricted guest data of type 3",
    by: ({ cs }) => cs.type = 0xa,
    detail: "CS: type is 10",
  },
  {
    rule: "CS is accessed code, or in an unrestricted guest data of type 3",
    from: () => ({ ...longMode(), unrestrictedGuest: false }),
    by: ({ cs }) => cs.type = 3,
    detail: "CS: type is 3",
  },
  {
    rule: "A usable SS is accessed read/write data",
    by: ({ ss }) => ss.type = 1,
    detail: "SS: type is 1",
  },
  {
    rule: "A usable data segment is accessed",
    by: ({ fs }) => fs.type = 2,
    detail: "FS: type is 2",
  },
  {
    rule: "A usable data segment with code in it is readable",
    by: ({ es }) => es.type = 9,
    detail: "ES: type is 9",
  },
  {
    rule: "CS and usable segments are code or data (S = 1)",
    by: ({ cs }) => cs.s = 0,
    detail: "CS: s is 0",
  },
  {
    rule: "A CS with data of type 3 has DPL 0",
    by: ({ cs }) => Object.assign(cs, { type: 3, dpl: 1 }),
    detail: "CS: dpl is 1",
  },
  {
    rule: "A non-conforming CS has the DPL of SS",
    by: ({ cs }) => cs.dpl = 3,
    detail: "CS: dpl is 3, that of SS is 0",
  },
  {
    rule: "A conforming CS has no higher DPL than SS",
    by: ({ cs }) => Object.assign(cs, { type: 15, dpl: 1 }),
    detail: "CS: dpl is 1, that of SS is 0",
  },
  {
    rule: "SS.DPL equals SS.RPL, unless the guest is unrestricted",
    from: () => ({ ...longMode(), unrestrictedGuest: false }),
    by: ({ ss, cs }) => {
      ss.dpl = 1;
      cs.dpl = 1;
    },
    detail: "SS: dpl is 1, the RPL 0",
  },
  {
    rule: "SS.DPL is 0 in real mode and with data of type 3 in CS",
    from: realMode,
    by: ({ ss, cs }) => {
      ss.dpl = 2;
      cs.dpl = 2;
    },
    detail: "SS: dpl is 2",
  },
  {
    rule: "SS.DPL is 0 in real mode and with data of type 3 in CS",
    by: ({ ss, cs }) => {
      ss.dpl = 2;
      cs.type = 3;
    },
    detail: "SS: dpl is 2",
  },
  {
    rule: "A usable data segment's DPL is no lower than its RPL, unless the guest is unrestricted",
    from: () => ({ ...longMode(), unrestrictedGuest: false }),
    by: ({ ds }) => ds.selector |= 3,
    detail: "DS: dpl is 0, the RPL 3",
  },
  {
    rule: "A usable data segment's DPL is no lower than its RPL, unless the guest is unrestricted",
    from: () => ({ ...longMode(), unrestrictedGuest: false }),
    by: ({ es }) => Object.assign(es, { selector: 0x9, type: 11 }),
    detail: "ES: dpl is 0, the RPL 1",
  },
  {
    rule: "CS and usable segments are present",
    by: ({ gs }) => gs.present = 0,
    detail: "GS: present is 0",
  },
  {
    rule: "CS is not both 64-bit (L) and 32-bit (D/B) in IA-32e mode",
    by: ({ cs }) => cs.db = 1,
    detail: "CS: l and db are 1",
  },
  {
    rule: "The granularity (G) of CS and usable segments fits the limit",
    by: ({ ds }) => ds.limit = 0xf_fffe,
    detail: "DS: limit is 0xffffe, g is 1",
  },
  {
    rule: "The granularity (G) of CS and usable segments fits the limit",
    from: realMode,
    by: ({ cs }) => cs.limit = 0xffff_ffff,
    detail: "CS: limit is 0xffffffff, g is 0",
  },
]);

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
