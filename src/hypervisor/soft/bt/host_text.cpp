// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/host_text.h"

#include <Zydis/Zydis.h>
#include <fmt/format.h>

#include <map>
#include <span>

namespace triune::hypervisor::soft::bt {
namespace {

constexpr std::array gpr_names{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"};
constexpr std::array segment_names{"es", "cs", "ss", "ds", "fs", "gs"};
constexpr std::array mode_names{"user", "supervisor", "supervisor_ac"};
constexpr std::array reason_names{"link",     "lookup", "signalled",  "entry",
                                  "declined", "vector", "page_fault", "system"};

/// What the formatter's hooks need.
struct Context {
    const HostText* text;
    std::span<const CodeRange> code;
    std::map<CodeOffset, std::string> labels;  ///< by offset; named once all are known
};

ZyanStatus append(ZydisFormatterBuffer* buffer, const std::string& text) {
    ZyanString* out = nullptr;
    ZYAN_CHECK(ZydisFormatterBufferAppend(buffer, ZYDIS_TOKEN_SYMBOL));
    ZYAN_CHECK(ZydisFormatterBufferGetString(buffer, &out));
    ZyanStringView view;
    ZYAN_CHECK(ZyanStringViewInsideBuffer(&view, text.c_str()));
    return ZyanStringAppend(out, &view);
}

/// [address] without registers, and the targets of jumps.
ZyanStatus print_address(const ZydisFormatter*, ZydisFormatterBuffer* buffer, ZydisFormatterContext* c) {
    Context& context = *static_cast<Context*>(c->user_data);
    if (c->operand->type == ZYDIS_OPERAND_TYPE_MEMORY)
        return append(buffer, context.text->data_name(static_cast<u64>(c->operand->mem.disp.value)));
    ZyanU64 target = 0;
    ZYAN_CHECK(ZydisCalcAbsoluteAddress(c->instruction, c->operand, c->runtime_address, &target));
    const CodeOffset offset = static_cast<CodeOffset>(target);
    for (const CodeRange& r : context.code)
        if (offset >= r.begin && offset < r.end) return append(buffer, context.labels[offset]);
    const std::string stub = context.text->stub_name(offset);
    return append(buffer, stub.empty() ? "elsewhere" : stub);
}

/// [register + displacement]: tables are indexed by scratch1, everything else is the guest's.
ZyanStatus print_displacement(const ZydisFormatter*, ZydisFormatterBuffer* buffer, ZydisFormatterContext* c) {
    const Context& context = *static_cast<Context*>(c->user_data);
    const auto& mem = c->operand->mem;
    const i64 value = mem.disp.value;
    const bool table = c->instruction->mnemonic != ZYDIS_MNEMONIC_LEA && mem.disp.has_displacement &&
                       (mem.base == ZYDIS_REGISTER_R11 ||
                        (mem.base == ZYDIS_REGISTER_NONE && mem.index == ZYDIS_REGISTER_R11));
    if (table) return append(buffer, "+" + context.text->data_name(static_cast<u64>(value)));
    if (value == 0) return ZYAN_STATUS_SUCCESS;
    return append(buffer, value < 0 ? fmt::format("-{:#x}", 0 - static_cast<u64>(value))
                                    : fmt::format("+{:#x}", value));
}

ZydisFormatter make_formatter() {
    ZydisFormatter f;
    ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
    ZydisFormatterSetProperty(&f, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
    ZydisFormatterSetProperty(&f, ZYDIS_FORMATTER_PROP_IMM_PADDING, ZYDIS_PADDING_DISABLED);
    ZydisFormatterSetProperty(&f, ZYDIS_FORMATTER_PROP_FORCE_SIZE, ZYAN_TRUE);
    const void* hook = reinterpret_cast<const void*>(&print_address);
    ZydisFormatterSetHook(&f, ZYDIS_FORMATTER_FUNC_PRINT_ADDRESS_ABS, &hook);
    hook = reinterpret_cast<const void*>(&print_displacement);
    ZydisFormatterSetHook(&f, ZYDIS_FORMATTER_FUNC_PRINT_DISP, &hook);
    return f;
}

}  // namespace

HostText::HostText(const Surroundings& s, mmu::VcpuArena& arena, mmu::TlbMode mode, unsigned lane)
    : arena_(arena), s_(s) {
    const x86::VcpuState& state = s.vcpu.state;
    for (unsigned g = 0; g < 16; ++g)
        add(state.gpr[g],
            g < gpr_names.size() ? fmt::format("guest.{}", gpr_names[g]) : fmt::format("guest.r{}", g));
    for (unsigned n = 0; n < segment_names.size(); ++n) {
        add(state.seg[n].base, fmt::format("{}.base", segment_names[n]));
        add(state.seg[n].selector, fmt::format("{}.selector", segment_names[n]));
    }
    add(state.rflags, "rflags");
    add(state.cr2, "cr2");
    add(state.cr4, "cr4");
    add(state.kernel_gs_base, "kernel_gs_base");
    add(state.tsc_offset, "tsc_offset");
    add(state.tsc_aux, "tsc_aux");
    add(s.vcpu.signals.pending, "signals.pending");
    add(s.vcpu.vector_state_live, "vector_state_live");
    add(s.vcpu.interrupt_waiting, "interrupt_waiting");

    const EngineData& d = s.data;
    add(d.next_rip, "next_rip");
    add(d.fault_address, "fault_address");
    add(d.lane, "mode");
    add(d.system_op, "system_op");
    add(d.rip, "rip");
    add(d.spill, "spill");
    add(d.branch_target, "branch_target");
    add(d.missed, "missed", sizeof(u64));
    add(d.ret_block, "ret_block");
    add(d.pointer, "pointer", sizeof(u64));
    add(d.flags, "flags");
    add(d.exit_id, "exit_id");
    add(d.cookie, "cookie", sizeof(d.cookie[0]));
    for (unsigned m = 0; m < mmu::tlb_modes; ++m)
        add(d.shadow_sp_of_lane[m], fmt::format("shadow_sp.{}", mode_names[m]));
    for (unsigned n = 0; n < segment_names.size(); ++n) {
        const EngineData::SegmentBounds& b = d.segment[n];
        add(b.base, fmt::format("bounds.{}.base", segment_names[n]));
        for (const bool write : {false, true}) {
            const char* const kind = write ? "write" : "read";
            for (unsigned k = 0; k < b.last[write].size(); ++k)
                add(b.last[write][k], fmt::format("bounds.{}.{}{}", segment_names[n], kind, 1 << k));
            add(b.last16[write], fmt::format("bounds.{}.{}_64k", segment_names[n], kind));
        }
    }
    add(d.narrow_key, "narrow_key");
    const EngineData::JumpCache& jump = d.jump[lane];
    add(jump.rip, "jump.rip", sizeof(u64));
    add(jump.host, "jump.host", sizeof(u64));
    const mmu::StackEntry& stack = s.tlb.stack[static_cast<unsigned>(mode)];
    add(stack.tag, "stack.tag");
    add(stack.host, "stack.host");
    symbols_.push_back({reinterpret_cast<u64>(&s.tlb.set[static_cast<unsigned>(mode)]), sizeof(s.tlb.set[0]),
                        "tlb", sizeof(mmu::TlbEntry)});
}

std::string HostText::data_name(u64 address) const {
    for (const Symbol& s : symbols_) {
        if (address < s.begin || address - s.begin >= s.size) continue;
        u64 rest = address - s.begin;
        std::string name = s.name, index;
        if (s.element) {
            // The table itself is what code indexes; a later element, what it names outright.
            if (rest >= s.element) index = fmt::format("[{:#x}]", rest / s.element);
            rest %= s.element;
        }
        if (s.element == sizeof(mmu::TlbEntry)) {
            name += rest == offsetof(mmu::TlbEntry, read_tag)    ? ".read"
                    : rest == offsetof(mmu::TlbEntry, write_tag) ? ".write"
                    : rest == offsetof(mmu::TlbEntry, host)      ? ".host"
                                                                 : fmt::format("+{:#x}", rest);
            rest = 0;
        }
        return name + index + (rest ? fmt::format("+{}", rest) : "");
    }
    return fmt::format("arena+{:#x}", address - reinterpret_cast<u64>(&arena_.context()));
}

std::string HostText::stub_name(CodeOffset offset) const {
    for (size_t n = 0; n < s_.stubs.leave.size(); ++n)
        if (s_.stubs.leave[n] == offset) return fmt::format("leave.{}", reason_names.at(n));
    if (offset == s_.stubs.leave_link[static_cast<u32>(FlagsAt::host)]) return "leave.link_host";
    if (offset == s_.stubs.leave_link[static_cast<u32>(FlagsAt::memory)]) return "leave.link_memory";
    if (offset == s_.stubs.leave_entry) return "leave.entry";
    if (offset == s_.stubs.tlb_miss) return "tlb_miss";
    if (offset == s_.stubs.string) return "string";
    for (unsigned mode = 0; mode < mmu::tlb_modes; ++mode)
        if (s_.stubs.stack_probe[mode] == offset) return "stack_probe";
    for (unsigned lane = 0; lane < EngineData::lanes; ++lane)
        if (s_.stubs.indirect[lane] == offset)
            return fmt::format("indirect.{}{}", mode_names[lane % mmu::tlb_modes],
                               lane < mmu::tlb_modes ? "" : ".narrow");
    return {};
}

std::vector<HostLine> HostText::lines(const std::array<CodeRange, 2>& code) const {
    static const ZydisFormatter formatter = make_formatter();
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    Context context{this, code, {}};
    std::vector<HostLine> lines;
    // Once to find what is jumped to, once more with those places named in their order.
    for (const bool named : {false, true}) {
        lines.clear();
        unsigned number = 0;
        if (named)
            for (auto& [offset, label] : context.labels) label = fmt::format("L{}", ++number);
        for (const CodeRange& range : code) {
            for (CodeOffset at = range.begin; at < range.end;) {
                ZydisDecodedInstruction insn;
                std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;
                std::array<char, 256> text{};
                const bool ok = ZYAN_SUCCESS(ZydisDecoderDecodeFull(
                                    &decoder, arena_.code() + at, range.end - at, &insn, operands.data())) &&
                                ZYAN_SUCCESS(ZydisFormatterFormatInstruction(
                                    &formatter, &insn, operands.data(), insn.operand_count_visible,
                                    text.data(), text.size(), at, &context));
                const auto label = context.labels.find(at);
                lines.push_back(
                    {at, ok ? text.data() : "(bad)", label == context.labels.end() ? "" : label->second});
                at += ok ? insn.length : 1;
            }
        }
    }
    return lines;
}

}  // namespace triune::hypervisor::soft::bt
