// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <string_view>

#include "gdb/registers.h"

namespace triune::gdb {
namespace {

using Kind = Register::Kind;

constexpr std::string_view core = "org.gnu.gdb.i386.core", sse = "org.gnu.gdb.i386.sse",
                           avx_high = "org.gnu.gdb.i386.avx", segments = "org.gnu.gdb.i386.segments",
                           system_registers = "org.triune.system";

struct Flag {
    std::string_view name;
    unsigned bit, last;
};

std::string flags(std::string_view id, unsigned bytes, std::initializer_list<Flag> fields) {
    std::string out = fmt::format("<flags id=\"{}\" size=\"{}\">", id, bytes);
    for (const Flag& f : fields)
        out += fmt::format("<field name=\"{}\" start=\"{}\" end=\"{}\"/>", f.name, f.bit, f.last);
    return out + "</flags>";
}

std::string eflags_type() {
    return flags("i386_eflags", 4,
                 {{"CF", 0, 0},
                  {"", 1, 1},
                  {"PF", 2, 2},
                  {"AF", 4, 4},
                  {"ZF", 6, 6},
                  {"SF", 7, 7},
                  {"TF", 8, 8},
                  {"IF", 9, 9},
                  {"DF", 10, 10},
                  {"OF", 11, 11},
                  {"NT", 14, 14},
                  {"RF", 16, 16},
                  {"VM", 17, 17},
                  {"AC", 18, 18},
                  {"VIF", 19, 19},
                  {"VIP", 20, 20},
                  {"ID", 21, 21}});
}

std::string vector_types() {
    return "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" "
           "count=\"2\"/>"
           "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" "
           "count=\"8\"/>"
           "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" "
           "count=\"2\"/>"
           "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" "
           "type=\"v2d\"/>"
           "<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
           "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
           "<field name=\"uint128\" type=\"uint128\"/></union>" +
           flags("i386_mxcsr", 4,
                 {{"IE", 0, 0},
                  {"DE", 1, 1},
                  {"ZE", 2, 2},
                  {"OE", 3, 3},
                  {"UE", 4, 4},
                  {"PE", 5, 5},
                  {"DAZ", 6, 6},
                  {"IM", 7, 7},
                  {"DM", 8, 8},
                  {"ZM", 9, 9},
                  {"OM", 10, 10},
                  {"UM", 11, 11},
                  {"PM", 12, 12},
                  {"FZ", 15, 15}});
}

std::string system_types(unsigned bytes) {
    return flags("cr0", bytes,
                 {{"PE", 0, 0},
                  {"MP", 1, 1},
                  {"EM", 2, 2},
                  {"TS", 3, 3},
                  {"ET", 4, 4},
                  {"NE", 5, 5},
                  {"WP", 16, 16},
                  {"AM", 18, 18},
                  {"NW", 29, 29},
                  {"CD", 30, 30},
                  {"PG", 31, 31}}) +
           flags("cr4", bytes,
                 {{"VME", 0, 0},
                  {"PVI", 1, 1},
                  {"TSD", 2, 2},
                  {"DE", 3, 3},
                  {"PSE", 4, 4},
                  {"PAE", 5, 5},
                  {"MCE", 6, 6},
                  {"PGE", 7, 7},
                  {"PCE", 8, 8},
                  {"OSFXSR", 9, 9},
                  {"OSXMMEXCPT", 10, 10},
                  {"UMIP", 11, 11},
                  {"LA57", 12, 12},
                  {"FSGSBASE", 16, 16},
                  {"PCIDE", 17, 17},
                  {"OSXSAVE", 18, 18},
                  {"SMEP", 20, 20},
                  {"SMAP", 21, 21},
                  {"PKE", 22, 22}}) +
           flags("efer", 8,
                 {{"SCE", 0, 0}, {"LME", 8, 8}, {"LMA", 10, 10}, {"NXE", 11, 11}, {"FFXSR", 14, 14}});
}

}  // namespace

RegisterFile::RegisterFile(Arch arch, bool avx) : arch_(arch) {
    add_core();
    add_vectors(avx);
    add_system();

    const bool wide = arch == Arch::x86_64;
    description_ = fmt::format(
        "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
        "<target version=\"1.0\"><architecture>{}</architecture>",
        wide ? "i386:x86-64" : "i386");
    std::string open;
    for (size_t n = 0; n < registers_.size(); ++n) {
        const Register& r = registers_[n];
        if (r.feature != open) {
            if (!open.empty()) description_ += "</feature>";
            open = r.feature;
            description_ += fmt::format("<feature name=\"{}\">", open);
            if (open == core) description_ += eflags_type();
            if (open == sse) description_ += vector_types();
            if (open == system_registers) description_ += system_types(wide ? 8 : 4);
        }
        description_ += fmt::format("<reg name=\"{}\" bitsize=\"{}\" type=\"{}\" regnum=\"{}\"", r.name,
                                    r.bytes * 8, r.type, n);
        description_ += r.group ? fmt::format(" group=\"{}\"/>", r.group) : "/>";
    }
    description_ += "</feature></target>";
}

void RegisterFile::add_core() {
    const bool wide = arch_ == Arch::x86_64;
    const std::string feature(core);
    const u8 word = wide ? 8 : 4;
    const std::string integer = wide ? "int64" : "int32";
    struct Gpr {
        const char* name;
        u8 index;
        bool pointer = false;
    };
    // GDB's order, which is not the encoding's.
    constexpr std::array<Gpr, 16> wide_gprs = {{{"rax", x86::rax},
                                                {"rbx", x86::rbx},
                                                {"rcx", x86::rcx},
                                                {"rdx", x86::rdx},
                                                {"rsi", x86::rsi},
                                                {"rdi", x86::rdi},
                                                {"rbp", x86::rbp, true},
                                                {"rsp", x86::rsp, true},
                                                {"r8", 8},
                                                {"r9", 9},
                                                {"r10", 10},
                                                {"r11", 11},
                                                {"r12", 12},
                                                {"r13", 13},
                                                {"r14", 14},
                                                {"r15", 15}}};
    constexpr std::array<Gpr, 8> narrow_gprs = {{{"eax", x86::rax},
                                                 {"ecx", x86::rcx},
                                                 {"edx", x86::rdx},
                                                 {"ebx", x86::rbx},
                                                 {"esp", x86::rsp, true},
                                                 {"ebp", x86::rbp, true},
                                                 {"esi", x86::rsi},
                                                 {"edi", x86::rdi}}};
    const auto gpr = [&](const Gpr& g) {
        add({g.name, Kind::gpr, g.index, word, g.pointer ? "data_ptr" : integer, feature});
    };
    if (wide)
        for (const Gpr& g : wide_gprs) gpr(g);
    else
        for (const Gpr& g : narrow_gprs) gpr(g);
    add({wide ? "rip" : "eip", Kind::rip, 0, word, "code_ptr", feature});
    add({"eflags", Kind::rflags, 0, 4, "i386_eflags", feature});
    constexpr std::array<std::pair<const char*, x86::Seg>, 6> selectors = {{{"cs", x86::cs},
                                                                            {"ss", x86::ss},
                                                                            {"ds", x86::ds},
                                                                            {"es", x86::es},
                                                                            {"fs", x86::fs},
                                                                            {"gs", x86::gs}}};
    for (const auto& [name, seg] : selectors) add({name, Kind::selector, seg, 4, "int32", feature});
    for (u8 i = 0; i < 8; ++i) add({fmt::format("st{}", i), Kind::x87, i, 10, "i387_ext", feature});
    u8 i = 0;
    for (const char* name : {"fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"})
        add({name, Kind::x87_control, i++, 4, "int", feature, "float"});
}

void RegisterFile::add_vectors(bool avx) {
    const u8 count = arch_ == Arch::x86_64 ? 16 : 8;
    for (u8 i = 0; i < count; ++i)
        add({fmt::format("xmm{}", i), Kind::xmm, i, 16, "vec128", std::string(sse)});
    add({"mxcsr", Kind::mxcsr, 0, 4, "i386_mxcsr", std::string(sse), "vector"});
    if (!avx) return;
    for (u8 i = 0; i < count; ++i)
        add({fmt::format("ymm{}h", i), Kind::ymm_high, i, 16, "uint128", std::string(avx_high)});
}

void RegisterFile::add_system() {
    const bool wide = arch_ == Arch::x86_64;
    const u8 word = wide ? 8 : 4;
    const std::string integer = wide ? "int64" : "int32", feature(system_registers);
    if (wide) {
        add({"fs_base", Kind::segment_base, x86::fs, 8, "int", std::string(segments)});
        add({"gs_base", Kind::segment_base, x86::gs, 8, "int", std::string(segments)});
        add({"k_gs_base", Kind::kernel_gs_base, 0, 8, "int64", feature, "system"});
    }
    const auto system = [&](const char* name, Kind kind, u8 index, u8 bytes, std::string type) {
        add({name, kind, index, bytes, std::move(type), feature, "system"});
    };
    system("cr0", Kind::cr, 0, word, "cr0");
    system("cr2", Kind::cr, 2, word, integer);
    system("cr3", Kind::cr, 3, word, integer);
    system("cr4", Kind::cr, 4, word, "cr4");
    system("efer", Kind::efer, 0, 8, "efer");
    system("xcr0", Kind::xcr0, 0, 8, "int64");
    constexpr std::array<std::pair<const char*, x86::Seg>, 4> bases = {
        {{"cs_base", x86::cs}, {"ss_base", x86::ss}, {"ds_base", x86::ds}, {"es_base", x86::es}}};
    for (const auto& [name, seg] : bases) system(name, Kind::segment_base, seg, word, integer);
    if (!wide) {
        system("fs_base", Kind::segment_base, x86::fs, word, integer);
        system("gs_base", Kind::segment_base, x86::gs, word, integer);
    }
    system("gdtr_base", Kind::gdtr_base, 0, word, integer);
    system("gdtr_limit", Kind::gdtr_limit, 0, 4, "int32");
    system("idtr_base", Kind::idtr_base, 0, word, integer);
    system("idtr_limit", Kind::idtr_limit, 0, 4, "int32");
    system("ldtr", Kind::ldtr, 0, 4, "int32");
    system("tr", Kind::tr, 0, 4, "int32");
    system("tr_base", Kind::tr_base, 0, word, integer);
    for (const u8 i : {0, 1, 2, 3, 6, 7})
        system(std::array{"dr0", "dr1", "dr2", "dr3", "", "", "dr6", "dr7"}[i], Kind::dr, i, word, integer);
}

}  // namespace triune::gdb
