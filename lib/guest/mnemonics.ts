/** Instructions on general registers, of the system, of x87 and of virtualization (Intel SDM volume 2; AMD APM volume 3). */
const NAMES = new Set(
  (`aaa aad aam aas adc adcx add adox and andn arpl bextr blsi blsmsk blsr bound bsf bsr bswap bt btc btr bts bzhi call
cbw cdq cdqe clac cldemote cld clflush clflushopt clgi cli clts clwb clzero cmc cmp cmpsb cmpsd cmpsq cmpsw cmpxchg
cmpxchg16b cmpxchg8b cpuid cqo crc32 cwd cwde daa das dec div emms endbr32 endbr64 enter enqcmd enqcmds fence hlt icebp
idiv imul in inc insb insd insw int int01 int03 int1 int3 into invd invept invlpg invlpga invpcid invvpid iret iretd
iretq iretw jcxz jecxz jmp jrcxz lahf lar ldmxcsr lds lea leave les lfence lfs lgdt lgs lidt lldt lmsw lodsb lodsd lodsq
lodsw loop loope loopne loopnz loopz lsl lss ltr lzcnt mfence monitor monitorx mov movbe movdir64b movdiri movnti movsb
movsd movsq movsw movsx movsxd movzx mul mulx mwait mwaitx neg nop not or out outsb outsd outsw pause pdep pext pop popa
popad popaw popcnt popf popfd popfq popfw prefetch prefetchnta prefetcht0 prefetcht1 prefetcht2 prefetchw ptwrite push
pusha pushad pushaw pushf pushfd pushfq pushfw rcl rcr rdfsbase rdgsbase rdmsr rdpid rdpkru rdpmc rdpru rdrand rdseed
rdtsc rdtscp ret retf retfd retfq retfw retn rol ror rorx rsm sahf sal salc sar sarx sbb scasb scasd scasq scasw serialize
sfence sgdt shl shld shlx shr shrd shrx sidt skinit sldt smsw stac stc std stgi sti stmxcsr stosb stosd stosq stosw str
sub swapgs syscall sysenter sysexit sysret test tpause tzcnt ud0 ud1 ud2 umonitor umwait verr verw vmcall vmclear vmfunc
vmlaunch vmload vmmcall vmptrld vmptrst vmread vmresume vmrun vmsave vmwrite vmxoff vmxon wait wbinvd wbnoinvd wrfsbase
wrgsbase wrmsr wrpkru xabort xadd xbegin xchg xend xgetbv xlat xlatb xor xrstor xrstor64 xrstors xrstors64 xsave xsave64
xsavec xsavec64 xsaveopt xsaveopt64 xsaves xsaves64 xsetbv xtest
f2xm1 fabs fadd faddp fbld fbstp fchs fclex fcom fcomi fcomip fcomp fcompp fcos fdecstp fdiv fdivp fdivr fdivrp ffree
fiadd ficom ficomp fidiv fidivr fild fimul fincstp finit fist fistp fisttp fisub fisubr fld fld1 fldcw fldenv fldl2e
fldl2t fldlg2 fldln2 fldpi fldz fmul fmulp fnclex fninit fnop fnsave fnstcw fnstenv fnstsw fpatan fprem fprem1 fptan
frndint frstor fsave fscale fsin fsincos fsqrt fst fstcw fstenv fstp fstsw fsub fsubp fsubr fsubrp ftst fucom fucomi
fucomip fucomp fucompp fwait fxam fxch fxrstor fxrstor64 fxsave fxsave64 fxtract fyl2x fyl2xp1`)
    .split(/\s+/),
);

const CONDITION = "(?:n?[abceglopsz]|n?[abgl]e|p[eo]|n?c)";

/** Those that there are for each condition, and those on vectors, by how their names are made. */
const FAMILIES = new RegExp(
  `^(?:(?:j|set|cmov)${CONDITION}|v?(?:add|sub|mul|div|min|max|sqrt|and|andn|or|xor|unpck[lh]|shuf|cmp\\w{0,5}|rsqrt|rcp|` +
    "blendv?|round|hadd|hsub|addsub|dp)[ps][sd]|v?u?comis[sd]|v?cvtt?[a-z0-9]{2,}2[a-z]+|" +
    "v?mov(?:[aulh]p[sd]|lhps|hlps|s[sd]|[dq]|dq[au](?:8|16|32|64)?|ddup|s[hl]dup|mskp[sd]|nt(?:dqa?|p[sd]|q)|q2dq|dq2q)|" +
    "v?p(?:add|sub)(?:[bwdq]|u?s[bw])|v?p(?:and|andn|or|xor)[dq]?|v?pcmp(?:eq|gt)[bwdq]|v?p(?:min|max)[us][bwdq]|" +
    "v?ps(?:ll|rl|ra)(?:[wdq]|dq)|v?punpck[lh](?:bw|wd|dq|qdq)|v?pack[us]s(?:wb|dw)|v?pshuf(?:b|d|w|hw|lw)|" +
    "v?pmovmskb|v?pmul(?:h|hu|l|hrs)w|v?pmul(?:u|l)?(?:dq|d)|v?p(?:insr|extr)[bwdq]|v?pmadd(?:wd|ubsw)|v?psadbw|" +
    "v?palignr|v?ptest|v?pclmulqdq|v?aes\\w+|sha(?:1|256)\\w+|vzero(?:all|upper)|vfn?m(?:add|sub)\\w+|" +
    "v(?:broadcast|perm|insert|extract|gather|pbroadcast)\\w+|k(?:mov|and|or|xor|not|test|ortest)[bwdq])$",
);

/** Whether a name is that of an instruction, as NASM has them. What is left out is not taken for code, which is harmless. */
export function isMnemonic(name: string): boolean {
  const lower = name.toLowerCase();
  return NAMES.has(lower) || FAMILIES.test(lower);
}
