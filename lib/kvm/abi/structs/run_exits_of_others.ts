import { array, since, struct, u16, u32, u64, u8, ulong } from "../../../ffi/struct.ts";

/**
 * The members of `kvm_run`'s union that other architectures fill (api.rst 5): here for their offsets only.
 */
export const run_exits_of_others = {
  iocsr_io: since(
    "6.7",
    struct("", { phys_addr: u64, data: array(u8, 8), len: u32, is_write: u8 }),
  ),
  s390_sieic: struct("", { icptcode: u8, ipa: u16, ipb: u32 }),
  s390_reset_flags: u64,
  s390_ucontrol: struct("", { trans_exc_code: u64, pgm_code: u32 }),
  dcr: struct("", { dcrn: u32, data: u32, is_write: u8 }),
  osi: struct("", { gprs: array(u64, 32) }),
  papr_hcall: struct("", { nr: u64, ret: u64, args: array(u64, 9) }),
  s390_tsch: struct("", {
    subchannel_id: u16,
    subchannel_nr: u16,
    io_int_parm: u32,
    io_int_word: u32,
    ipb: u32,
    dequeued: u8,
  }),
  epr: struct("", { epr: u32 }),
  s390_stsi: struct("", { addr: u64, ar: u8, reserved: u8, fc: u8, sel1: u8, sel2: u16 }),
  arm_nisv: struct("", { esr_iss: u64, fault_ipa: u64 }),
  riscv_sbi: struct("", {
    extension_id: ulong,
    function_id: ulong,
    args: array(ulong, 6),
    ret: array(ulong, 2),
  }),
  riscv_csr: struct("", { csr_num: ulong, new_value: ulong, write_mask: ulong, ret_value: ulong }),
  arm_sea: since("6.19", struct("", { flags: u64, esr: u64, gva: u64, gpa: u64 })),
};
