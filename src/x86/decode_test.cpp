// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <sstream>

#include "x86/describe_insn.h"
#include "x86/insn.h"
#include "x86/vcpu_state.h"

namespace triune::x86 {
namespace {

std::vector<u8> parse(std::string_view hex) {
    std::istringstream in{std::string(hex)};
    in >> std::hex;
    std::vector<u8> bytes;
    for (unsigned b; in >> b;) bytes.push_back(static_cast<u8>(b));
    return bytes;
}

CodeSize size_of(int bits) {
    return bits == 16 ? CodeSize::bits16 : bits == 32 ? CodeSize::bits32 : CodeSize::bits64;
}

Insn must_decode(std::string_view hex, int bits = 64) {
    Insn i;
    EXPECT_EQ(decode(parse(hex), size_of(bits), i), DecodeStatus::ok) << hex;
    return i;
}

struct Case {
    int bits;
    std::string_view hex;
    std::string_view expected;
};

// See describe_insn.h for the notation. Checked by hand against Intel SDM 2 and AMD APM 3.
constexpr Case cases[] = {
    // clang-format off
    // arithmetic, registers, prefixes
    {64, "48 01 c8",
     "add len=3 o64 a64 | rw*r0:64, r*r1:64 | W=CPAZSO"},
    {64, "66 01 c8",
     "add len=3 o16 a64 | rw*r0:16, r*r1:16 | W=CPAZSO"},
    {64, "48 66 01 c8",
     "add len=4 o16 a64 | rw*r0:16, r*r1:16 | W=CPAZSO"},
    {64, "00 e1",
     "add len=2 o8 a64 | rw*r1:8, r*r0h:8 | W=CPAZSO"},
    {64, "40 00 e1",
     "add len=3 o8 a64 | rw*r1:8, r*r4:8 | W=CPAZSO"},
    {64, "45 01 c8",
     "add len=3 o32 a64 | rw*r8:32, r*r9:32 | W=CPAZSO"},
    {16, "01 c8",
     "add len=2 o16 a16 | rw*r0:16, r*r1:16 | W=CPAZSO"},
    {16, "66 01 c8",
     "add len=3 o32 a16 | rw*r0:32, r*r1:32 | W=CPAZSO"},
    {64, "48 81 e0 00 00 00 80",
     "and len=7 o64 a64 | rw*r0:64, r*-2147483648:32 | W=CPAZSO !A"},
    {64, "83 c0 80",
     "add len=3 o32 a64 | rw*r0:32, r*-128:8 | W=CPAZSO"},
    {64, "48 b8 00 00 00 80 00 00 00 00",
     "mov len=10 o64 a64 | w*r0:64, r*2147483648:64"},
    {64, "f0 01 08",
     "add len=3 o32 a64 lock | rw*ds:[r0]:32, r*r1:32 | W=CPAZSO"},
    {64, "f0 8b 08",
     "invalid"},
    {64, "f0 01 c8",
     "invalid"},
    {64, "87 08",
     "xchg len=2 o32 a64 | rw*ds:[r0]:32, rw*r1:32"},
    {64, "0f b1 08",
     "cmpxchg len=3 o32 a64 | rw?*ds:[r0]:32, r*r1:32, rw? r0:32 | W=CPAZSO"},
    {64, "48 0f c7 08",
     "cmpxchg16b len=4 o64 a64 | rw?*ds:[r0]:128, rw? r2:64, rw? r0:64, r r1:64, r r3:64 | W=Z"},
    {64, "0f 44 c1",
     "cmovz len=3 o32 a64 | w?*r0:32, r*r1:32 | R=Z"},
    {64, "0f bc c1",
     "bsf len=3 o32 a64 | rw?*r0:32, r*r1:32 | W=CPAZSO !CPASO"},
    {64, "f3 0f bc c1",
     "tzcnt len=4 o32 a64 | w*r0:32, r*r1:32 | W=CPAZSO !PASO"},
    {64, "ff c0",
     "inc len=2 o32 a64 | rw*r0:32 | W=PAZSO"},
    {64, "f7 e1",
     "mul len=2 o32 a64 | r*r1:32, rw r0:32, w r2:32 | W=CPAZSO !PAZS"},
    {64, "0f a3 c1",
     "bt len=3 o32 a64 | r*r1:32, r*r0:32 | W=CPASO !PASO"},
    {64, "0f ab 08",
     "bts len=3 o32 a64 | rw*ds:[r0]:32, r*r1:32 | W=CPASO !PASO"},
    {64, "98",
     "cwde len=1 o32 a64 | w r0:32, r r0:16"},
    {64, "48 99",
     "cqo len=2 o64 a64 | w r2:64, r r0:64"},
    {64, "9e",
     "sahf len=1 o32 a64 | r r0h:8 | W=CPAZS"},
    {64, "9f",
     "lahf len=1 o32 a64 | w r0h:8 | R=CPAZS"},
    {64, "f5",
     "cmc len=1 o32 a64 | R=C W=C"},
    {64, "fd",
     "std len=1 o32 a64 | W=D"},
    {64, "f3 0f b8 c1",
     "popcnt len=4 o32 a64 | w*r0:32, r*r1:32 | W=CPAZSO"},
    {64, "66 0f 38 f6 c1",
     "adcx len=5 o32 a64 | rw*r0:32, r*r1:32 | R=C W=C"},
    {64, "c4 e2 f9 f7 c1",
     "shlx len=5 o64 a64 vex | w*r0:64, r*r1:64, r*r0:64"},
    {64, "c4 e2 70 f2 c2",
     "andn len=5 o32 a64 vex | w*r0:32, r*r1:32, r*r2:32 | W=CPAZSO !PA"},
    {32, "37",
     "aaa len=1 o32 a32 | rw r0:8, rw r0h:8 | R=A W=CPAZSO !PZSO"},
    {32, "d4 0a",
     "aam len=2 o32 a32 | r*10:8, rw r0:8, w r0h:8 | W=CPAZSO !CAO"},
    {32, "d6",
     "salc len=1 o32 a32 | w r0:8 | R=C"},
    {32, "63 c1",
     "arpl len=2 o32 a32 | rw*r1:16, r*r0:16 | W=Z"},
    {64, "48 63 c1",
     "movsxd len=3 o64 a64 | w*r0:64, r*r1:32"},
    // shifts: a count of 0, of 1, known, unknown
    {64, "48 c1 e0 40",
     "shl len=4 o64 a64 | rw*r0:64, r*64:8"},
    {64, "d1 e0",
     "shl len=2 o32 a64 | rw*r0:32, r 1:8 | W=CPAZSO !A"},
    {64, "c1 e0 05",
     "shl len=3 o32 a64 | rw*r0:32, r*5:8 | W=CPAZSO !AO"},
    {64, "48 d3 e0",
     "shl len=3 o64 a64 | rw*r0:64, r r1:8 | W=CPAZSO ~CPAZSO !AO"},
    {64, "c0 d0 09",
     "rcl len=3 o8 a64 | rw*r0:8, r*9:8 | R=C W=CO ~CO !O"},
    {64, "0f a4 c1 00",
     "shld len=4 o32 a64 | rw?*r1:32, r*r0:32, r*0:8"},
    {64, "0f a5 c1",
     "shld len=3 o32 a64 | rw?*r1:32, r*r0:32, r r1:8 | W=CPAZSO ~CPAZSO !AO"},
    // addresses
    {64, "8b 05 10 00 00 00",
     "mov len=6 o32 a64 | w*r0:32, r*ds:[rip+0x10]:32"},
    {64, "67 8b 05 10 00 00 00",
     "mov len=7 o32 a32 | w*r0:32, r*ds:[rip+0x10]:32"},
    {64, "64 8b 04 25 28 00 00 00",
     "mov len=8 o32 a64 | w*r0:32, r*fs:[+0x28]:32"},
    {64, "2e 8b 45 00",
     "mov len=4 o32 a64 | w*r0:32, r*ss:[r5]:32"},
    {32, "2e 8b 45 00",
     "mov len=4 o32 a32 | w*r0:32, r*cs:[r5]:32"},
    {64, "8b 44 88 fc",
     "mov len=4 o32 a64 | w*r0:32, r*ds:[r0+r1*4-0x4]:32"},
    {64, "42 8b 04 25 00 00 00 00",
     "mov len=8 o32 a64 | w*r0:32, r*ds:[+r12*1]:32"},
    {64, "8d 44 88 10",
     "lea len=4 o32 a64 | w*r0:32, *agen ds:[r0+r1*4+0x10]:64"},
    {16, "8b 00",
     "mov len=2 o16 a16 | w*r0:16, r*ds:[r3+r6*1]:16"},
    {16, "8b 86 34 12",
     "mov len=4 o16 a16 | w*r0:16, r*ss:[r5+0x1234]:16"},
    {16, "67 8b 04 88",
     "mov len=4 o16 a32 | w*r0:16, r*ds:[r0+r1*4]:16"},
    {32, "67 8b 07",
     "mov len=3 o32 a16 | w*r0:32, r*ds:[r3]:32"},
    {32, "a1 00 00 e0 fe",
     "mov len=5 o32 a32 | w r0:32, r*ds:[-0x1200000]:32"},
    {64, "48 a1 00 00 e0 fe 00 00 00 00",
     "mov len=10 o64 a64 | w r0:64, r*ds:[+0xfee00000]:64"},
    {64, "0f 1f 44 00 00",
     "nop len=5 o32 a64 | *agen ds:[r0+r0*1]:32, *r0:32"},
    {64, "f3 0f 1e fa",
     "nop len=4 o32 a64 | *r2:32, *r7:32"},
    {64, "0f 18 08",
     "prefetcht0 len=3 o32 a64 | *agen ds:[r0]:8"},
    {64, "0f ae 38",
     "clflush len=3 o32 a64 | r*ds:[r0]:512"},
    {64, "0f 01 38",
     "invlpg len=3 o8 a64 cpl0 | *agen ds:[r0]:8"},
    {64, "c4 e2 69 90 04 88",
     "vpgatherdd len=6 o32 a64 vex vector | rw*v0:128, r*ds:[r0+v1*4]:32, rw*v2:128"},
    // strings
    {64, "a4",
     "movsb len=1 o8 a64 | w es:[r7]:8, r ds:[r6]:8, rw r7:64, rw r6:64 | R=D"},
    {64, "f3 48 a5",
     "movsq len=3 o64 a64 rep | w? es:[r7]:64, r ds:[r6]:64, rw? r1:64, rw? r7:64, rw? r6:64 | R=D"},
    {64, "f2 a4",
     "movsb len=2 o8 a64 rep | w? es:[r7]:8, r ds:[r6]:8, rw? r1:64, rw? r7:64, rw? r6:64 | R=D"},
    {64, "f3 a6",
     "cmpsb len=2 o8 a64 rep | r ds:[r6]:8, r es:[r7]:8, rw? r1:64, rw? r6:64, rw? r7:64 | R=ZD W=CPAZSO ~CPAZSO"},
    {64, "f2 ae",
     "scasb len=2 o8 a64 repne | r r0:8, r es:[r7]:8, rw? r1:64, rw? r7:64 | R=ZD W=CPAZSO ~CPAZSO"},
    {64, "67 f3 aa",
     "stosb len=3 o8 a32 rep | w? es:[r7]:8, r r0:8, rw? r7:32, rw? r1:32 | R=D"},
    {16, "ac",
     "lodsb len=1 o8 a16 | w r0:8, r ds:[r6]:8, rw r6:16 | R=D"},
    {64, "f3 6c",
     "insb len=2 o8 a64 rep | w? es:[r7]:8, r r2:16, rw? r1:64, rw? r7:64 | R=D"},
    {64, "6e",
     "outsb len=1 o8 a64 | r r2:16, r ds:[r6]:8, rw r6:64 | R=D"},
    {64, "d7",
     "xlat len=1 o32 a64 | r ds:[r3]:8, rw r0:8"},
    // stack and branches
    {64, "50",
     "push len=1 o64 a64 | r*r0:64, rw r4:64, w ss:[r4]:64"},
    {64, "66 50",
     "push len=2 o16 a64 | r*r0:16, rw r4:64, w ss:[r4]:16"},
    {64, "6a 80",
     "push len=2 o64 a64 | r*-128:8, rw r4:64, w ss:[r4]:64"},
    {64, "8f 04 24",
     "pop len=3 o64 a64 | w*ss:[r4]:64, rw r4:64, r ss:[r4]:64"},
    {64, "9c",
     "pushfq len=1 o64 a64 | rw r4:64, w ss:[r4]:64 | R=CPAZSDO"},
    {64, "9d",
     "popfq len=1 o64 a64 | rw r4:64, r ss:[r4]:64 | W=CPAZSDO"},
    {32, "60",
     "pushad len=1 o32 a32 | r r0:32, r r1:32, r r2:32, r r3:32, r r4:32, r r5:32, r r6:32, r r7:32, rw r4:32, w ss:[r4]:256"},
    {64, "c8 00 80 01",
     "enter len=4 o64 a64 | r*32768:16, r*1:8, rw r5:64, rw r4:64, w ss:[r4]:64"},
    {64, "c9",
     "leave len=1 o64 a64 | r ss:[r5]:64, rw r5:64, rw r4:64"},
    {64, "e8 05 00 00 00",
     "call len=5 o64 a64 branch | r*rel 5:32, rw r4:64, w ss:[r4]:64"},
    {64, "66 e8 05 00 00 00",
     "call len=6 o64 a64 branch | r*rel 5:32, rw r4:64, w ss:[r4]:64"},
    {32, "66 e8 05 00",
     "call len=4 o16 a32 branch | r*rel 5:16, rw r4:32, w ss:[r4]:16"},
    {64, "c3",
     "ret len=1 o64 a64 branch | rw r4:64, r ss:[r4]:64"},
    {64, "c2 00 80",
     "ret len=3 o64 a64 branch | r*32768:16, rw r4:64, r ss:[r4]:64"},
    {64, "cb",
     "ret len=1 o32 a64 branch | rw r4:64, r ss:[r4]:64"},
    {64, "ff e0",
     "jmp len=2 o64 a64 branch | r*r0:64"},
    {64, "ff 25 00 00 00 00",
     "jmp len=6 o64 a64 branch | r*ds:[rip]:64"},
    {64, "48 ff 2b",
     "jmp len=3 o64 a64 branch | r*ds:[r3]:80"},
    {32, "9a 78 56 34 12 08 00",
     "call len=7 o32 a32 branch | r*0x8:0x12345678:48, rw r4:32, w ss:[r4]:64"},
    {64, "9a 78 56 34 12 08 00",
     "invalid"},
    {64, "0f 84 00 00 00 00",
     "jz len=6 o64 a64 branch | r*rel 0:32 | R=Z"},
    {64, "e2 fe",
     "loop len=2 o64 a64 branch | r*rel -2:8, rw r1:64"},
    {64, "e1 fe",
     "loope len=2 o64 a64 branch | r*rel -2:8, rw r1:64 | R=Z"},
    {64, "67 e3 fe",
     "jecxz len=3 o64 a32 branch | r*rel -2:8, r r1:32"},
    {64, "cd 80",
     "int len=2 o32 a64 branch | r*128:8 | R=CPAZSDO"},
    {64, "cc",
     "int3 len=1 o32 a64 branch | R=CPAZSDO"},
    {64, "f1",
     "int1 len=1 o32 a64 branch | R=CPAZSDO"},
    {32, "ce",
     "into len=1 o32 a32 branch | R=CPAZSDO"},
    {64, "ce",
     "invalid"},
    {64, "48 cf",
     "iretq len=2 o64 a64 branch | rw r4:64, r ss:[r4]:320 | W=CPAZSDO"},
    {64, "0f 05",
     "syscall len=2 o64 a64 branch | w r1:64, w r11:64, w cs:16, w ss:16 | R=CPAZSDO W=CPAZSDO"},
    {64, "48 0f 07",
     "sysret len=3 o64 a64 branch cpl0 | r r1:64, r r11:64, w cs:16, w ss:16 | W=CPAZSDO"},
    // system
    {64, "0f 22 c0",
     "mov len=3 o64 a64 cpl0 | w*cr0:64, r*r0:64"},
    {64, "44 0f 20 c0",
     "mov len=4 o64 a64 cpl0 | w*r0:64, r*cr8:64"},
    {64, "0f 20 c8",
     "invalid"},
    {64, "0f 21 ff",
     "mov len=3 o64 a64 cpl0 | w*r7:64, r*dr7:64"},
    {64, "8e d8",
     "mov len=2 o32 a64 | w*ds:16, r*r0:16"},
    {64, "8e c8",
     "invalid"},
    {64, "8c 18",
     "mov len=2 o32 a64 | w*ds:[r0]:16, r*ds:16"},
    {64, "8e f0",
     "invalid"},
    {64, "0f b2 00",
     "lss len=3 o32 a64 | w*r0:32, r*ds:[r0]:48, w ss:16"},
    {64, "0f 01 10",
     "lgdt len=3 o64 a64 cpl0 | r*ds:[r0]:80"},
    {32, "0f 01 10",
     "lgdt len=3 o32 a32 cpl0 | r*ds:[r0]:48"},
    {64, "0f 00 d8",
     "ltr len=3 o32 a64 cpl0 | r*r0:16"},
    {64, "0f a2",
     "cpuid len=2 o32 a64 | rw r0:32, w r3:32, rw r1:32, w r2:32"},
    {64, "0f 30",
     "wrmsr len=2 o32 a64 cpl0 | r r0:32, r r2:32, r r1:32"},
    {64, "0f 32",
     "rdmsr len=2 o32 a64 cpl0 | w r0:32, w r2:32, r r1:32"},
    {64, "0f 31",
     "rdtsc len=2 o32 a64 | w r0:32, w r2:32"},
    {64, "f4",
     "hlt len=1 o32 a64 cpl0"},
    {64, "fa",
     "cli len=1 o32 a64"},
    {64, "e4 80",
     "in len=2 o8 a64 | w r0:8, r*128:8"},
    {64, "ef",
     "out len=1 o32 a64 | r r2:16, r r0:32"},
    {64, "0f 01 c1",
     "vmcall len=3 o32 a64"},
    {64, "0f 01 cb",
     "stac len=3 o32 a64 cpl0"},
    {64, "0f 01 d0",
     "xgetbv len=3 o32 a64 | r r1:32, w r2:32, w r0:32"},
    {64, "f3 0f ae c0",
     "rdfsbase len=4 o32 a64 | w*r0:32"},
    {64, "f3 0f 09",
     "wbinvd len=3 o32 a64 cpl0"},
    // vector state
    {64, "0f 58 c1",
     "addps len=3 o32 a64 vector | rw*v0:128, r*v1:128"},
    {64, "c5 fc 58 c1",
     "vaddps len=4 o32 a64 vex vector | w*v0:256, r*v0:256, r*v1:256"},
    {64, "c5 f8 77",
     "vzeroupper len=3 o32 a64 vex vector"},
    {64, "66 0f 3a 63 c1 80",
     "pcmpistri len=6 o32 a64 vector | r*v0:128, r*v1:128, r*128:8, w r1:32 | W=CPAZSO"},
    {64, "66 0f 70 c1 80",
     "pshufd len=5 o32 a64 vector | w*v0:128, r*v1:128, r*128:8"},
    {64, "0f 6f 08",
     "movq len=3 o32 a64 vector | w*mm1:64, r*ds:[r0]:64"},
    {64, "66 0f f7 c1",
     "maskmovdqu len=4 o32 a64 vector | r*v0:128, r*v1:128, w? ds:[r7]:128"},
    {64, "d8 c1",
     "fadd len=2 o32 a64 vector | rw st0:80, r*st1:80"},
    {64, "db 28",
     "fld len=2 o32 a64 vector | r*ds:[r0]:80, w st0:80"},
    {64, "df e0",
     "fnstsw len=2 o32 a64 vector | w r0:16"},
    {64, "9b",
     "fwait len=1 o32 a64 vector"},
    {64, "0f 77",
     "emms len=2 o32 a64 vector"},
    {64, "0f ae 10",
     "ldmxcsr len=3 o32 a64 vector | r*ds:[r0]:32"},
    {64, "0f ae 00",
     "fxsave len=3 o32 a64 vector | w*ds:[r0]:4096"},
    {64, "48 0f ae 20",
     "xsave64 len=4 o64 a64 vector | rw*ds:[r0]:4608, r r2:32, r r0:32"},
    {64, "0f ae e8",
     "lfence len=3 o32 a64"},
    {64, "0f c3 08",
     "movnti len=3 o32 a64 | w*ds:[r0]:32, r*r1:32"},
    {64, "0f 2e c1",
     "ucomiss len=3 o32 a64 vector | r*v0:32, r*v1:32 | W=CPAZSO"},
    {64, "66 0f 6e c0",
     "movd len=4 o32 a64 vector | w*v0:128, r*r0:32"},
    {64, "0f 50 c1",
     "movmskps len=3 o32 a64 vector | w*r0:32, r*v1:128"},
    // not offered, not there, not complete
    {64, "0f 0b",
     "invalid"},
    {64, "0f ff c0",
     "invalid"},
    {64, "62 f1 7c 48 58 c1",
     "invalid"},
    {64, "c5 f8 41 c1",
     "invalid"},
    {64, "0f 0f c1 9e",
     "invalid"},
    {64, "8f e9 78 e1 c1",
     "invalid"},
    {64, "0f 01 c2",
     "invalid"},
    {64, "0f 01 d8",
     "invalid"},
    {64, "0f 01 c8",
     "invalid"},
    {64, "0f c7 20",
     "invalid"},
    {64, "0f ae 30",
     "invalid"},
    {64, "c7 f8 00 00 00 00",
     "invalid"},
    {64, "66 0f 38 cf c1",
     "invalid"},
    {64, "06",
     "invalid"},
    {64, "27",
     "invalid"},
    {64, "66",
     "need more"},
    {64, "48",
     "need more"},
    {64, "0f",
     "need more"},
    {64, "8b 05 10 00",
     "need more"},
    {64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 90",
     "nop len=15 o16 a64"},
    {64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90",
     "too long"},
    {64, "66 66 66 66 66 66 66 66 66 66 66 66 66 c7 00 01",
     "too long"},
    // clang-format on
};

TEST(Decode, Table) {
    for (const Case& c : cases) {
        Insn i;
        std::string got;
        switch (decode(parse(c.hex), size_of(c.bits), i)) {
            case DecodeStatus::ok: got = describe(i); break;
            case DecodeStatus::need_more: got = "need more"; break;
            case DecodeStatus::invalid: got = "invalid"; break;
            case DecodeStatus::too_long: got = "too long"; break;
        }
        EXPECT_EQ(got, c.expected) << c.bits << ": " << c.hex;
    }
}

TEST(Decode, EveryShorterPieceNeedsMore) {
    for (const Case& c : cases) {
        const std::vector<u8> bytes = parse(c.hex);
        Insn i;
        if (decode(bytes, size_of(c.bits), i) != DecodeStatus::ok) continue;
        EXPECT_EQ(i.length, bytes.size()) << c.hex;
        for (size_t n = 0; n < bytes.size(); ++n) {
            Insn part;
            EXPECT_EQ(decode(std::span(bytes).first(n), size_of(c.bits), part), DecodeStatus::need_more)
                << c.hex << ": first " << n;
        }
    }
}

TEST(Decode, BytesAfterTheInstructionDoNotMatter) {
    for (const Case& c : cases) {
        std::vector<u8> bytes = parse(c.hex);
        Insn exact, more;
        if (decode(bytes, size_of(c.bits), exact) != DecodeStatus::ok) continue;
        bytes.resize(64, 0xff);
        ASSERT_EQ(decode(bytes, size_of(c.bits), more), DecodeStatus::ok);
        EXPECT_EQ(describe(more), describe(exact)) << c.hex;
        EXPECT_EQ(more.bytes, exact.bytes);
    }
}

TEST(Decode, FailureLeavesTheResultAlone) {
    Insn i;
    i.length = 77;
    EXPECT_EQ(decode(parse("0f 0b"), CodeSize::bits64, i), DecodeStatus::invalid);
    EXPECT_EQ(decode(parse("0f"), CodeSize::bits64, i), DecodeStatus::need_more);
    EXPECT_EQ(decode({}, CodeSize::bits64, i), DecodeStatus::need_more);
    EXPECT_EQ(i.length, 77);
}

TEST(Decode, Layout) {
    const Insn i =
        must_decode("66 f0 4c 81 84 88 44 33 22 11 78 56 34 12");  // lock add [rax+rcx*4+disp], imm
    EXPECT_EQ(i.prefix_bytes, 3);
    EXPECT_EQ(i.rex, 0x4c);
    EXPECT_EQ(i.opcode_map, 0);
    EXPECT_EQ(i.opcode, 0x81);
    EXPECT_TRUE(i.has_modrm);
    EXPECT_EQ(i.modrm_offset, 4);
    EXPECT_EQ(i.modrm, 0x84);
    EXPECT_EQ(i.disp_offset, 6);
    EXPECT_EQ(i.disp_bits, 32);
    EXPECT_EQ(i.imm_offset, 10);
    EXPECT_EQ(i.imm_bits, 32);
    EXPECT_EQ(i.operand_bits, 64) << "REX.W beats 66";
    EXPECT_EQ(i.bytes[13], 0x12);
    EXPECT_EQ(i.bytes[14], 0);

    const Insn vex2 = must_decode("c5 fc 58 c1"), vex3 = must_decode("c4 e2 f9 f7 c1");
    EXPECT_EQ(vex2.prefix_bytes, 2);
    EXPECT_EQ(vex2.opcode_map, 1);
    EXPECT_EQ(vex3.prefix_bytes, 3);
    EXPECT_EQ(vex3.opcode_map, 2);
    EXPECT_EQ(vex3.modrm_offset, 4);
    EXPECT_EQ(vex3.rex, 0);

    const Insn two = must_decode("0f a2");
    EXPECT_EQ(two.opcode_map, 1);
    EXPECT_FALSE(two.has_modrm);
    EXPECT_EQ(two.modrm_offset, 0);
    EXPECT_EQ(two.disp_bits, 0);
}

TEST(Decode, RexBeforeALegacyPrefixIsIgnored) {
    const Insn i = must_decode("48 66 01 c8");
    EXPECT_EQ(i.rex, 0);
    EXPECT_EQ(i.prefix_bytes, 2);
    EXPECT_EQ(i.operand_bits, 16);
    EXPECT_EQ(must_decode("48 f3 41 0f b8 c1").rex, 0x41);
}

TEST(Decode, ControlRegisterMovesIgnoreMod) {
    const Insn i = must_decode("0f 22 18");
    EXPECT_EQ(i.length, 3);
    EXPECT_EQ(i.op[0].kind, OperandKind::control);
    EXPECT_EQ(i.op[0].reg, 3);
    EXPECT_EQ(i.op[1].kind, OperandKind::gpr);
    EXPECT_EQ(i.op[1].reg, rax);
}

TEST(Decode, MemoryFindsTheAccess) {
    EXPECT_EQ(must_decode("8d 00").memory(), nullptr) << "LEA";
    EXPECT_EQ(must_decode("01 c8").memory(), nullptr);
    const Insn load = must_decode("8b 43 08");
    ASSERT_NE(load.memory(), nullptr);
    EXPECT_EQ(load.memory()->base, rbx);
    EXPECT_EQ(load.memory()->disp, 8);
    EXPECT_EQ(must_decode("50").memory()->segment, ss);
}

TEST(Decode, HintsAndPrefixesThatMeanNothing) {
    EXPECT_EQ(must_decode("f2 e8 00 00 00 00").mnemonic, ZYDIS_MNEMONIC_CALL) << "BND";
    EXPECT_FALSE(must_decode("f2 e8 00 00 00 00").repne);
    EXPECT_FALSE(must_decode("f3 c3").rep);
    EXPECT_EQ(must_decode("2e 75 00").mnemonic, ZYDIS_MNEMONIC_JNZ);
    EXPECT_EQ(must_decode("f3 90").mnemonic, ZYDIS_MNEMONIC_PAUSE);
    EXPECT_EQ(must_decode("3e ff e0").mnemonic, ZYDIS_MNEMONIC_JMP) << "NOTRACK";
    EXPECT_FALSE(must_decode("f3 0f 1e fa").is_branch);
    EXPECT_TRUE(must_decode("f2 f0 01 08").lock) << "XACQUIRE";
}

TEST(Decode, Disassembles) {
    EXPECT_EQ(disassemble(parse("48 8b 03"), CodeSize::bits64, 0), "mov rax, [rbx]");
    EXPECT_EQ(disassemble(parse("eb fe"), CodeSize::bits64, 0x1000), "jmp 0x0000000000001000");
    EXPECT_EQ(disassemble(parse("0f 0b"), CodeSize::bits64, 0), "ud2");
    EXPECT_EQ(disassemble(parse("06"), CodeSize::bits64, 0), "(bad)");
    EXPECT_EQ(disassemble({}, CodeSize::bits64, 0), "(bad)");
}

/// A SIB base of 101b with mod 0 is a displacement without base, also with REX.B or VEX.B and 32-bit
/// addresses.
TEST(Decode, NoBaseIsNotR13) {
    const std::vector<u8> all[] = {
        {0x67, 0xc4, 0x02, 0xf9, 0x1c, 0x2c, 0x8d, 0x4b, 0x42, 0xa4, 0x7d},  // vpabsb xmm13, [r9d*4 + disp]
        {0x67, 0x43, 0x8b, 0x04, 0x8d, 0x4b, 0x42, 0xa4, 0x7d},              // mov eax, [r9d*4 + disp]
        {0x43, 0x8b, 0x04, 0x8d, 0x4b, 0x42, 0xa4, 0x7d},                    // the same with 64 bits
    };
    for (std::vector<u8> code : all) {
        const size_t length = code.size();
        code.resize(15);
        Insn i;
        ASSERT_EQ(decode(code, CodeSize::bits64, i), DecodeStatus::ok);
        EXPECT_EQ(i.length, length);
        ASSERT_NE(i.memory(), nullptr);
        EXPECT_EQ(i.memory()->base, -1);
        EXPECT_EQ(i.memory()->index, 9);
        EXPECT_EQ(i.memory()->disp, 0x7da4424b);
    }
}

}  // namespace
}  // namespace triune::x86
