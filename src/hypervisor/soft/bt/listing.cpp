// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/listing.h"

#include <fmt/format.h>

#include <algorithm>

#include "hypervisor/soft/bt/bt.h"
#include "hypervisor/soft/bt/compiler.h"
#include "hypervisor/soft/bt/host_map.h"
#include "hypervisor/soft/bt/host_text.h"

namespace triune::hypervisor::soft::bt {

using x86::Insn;

namespace {

constexpr u64 code_bytes = u64{256} << 10;  // a block of 64 instructions takes less than a quarter

struct Decoded {
    std::vector<Insn> insns;
    std::vector<u64> rips;
    bool declined_after = false;
    bool crosses = false;  ///< its only instruction goes on in the next page
    u64 end = 0;           ///< address behind the last instruction
    const char* end_reason = "";
};

/// The bounds of Translator::Impl::translate(): what it would make one block of.
Decoded decode_block(std::span<const u8> code, u64 rip, mmu::TlbMode mode, const NarrowMode* narrow) {
    Decoded d;
    const Options options;
    const x86::CodeSize size = narrow ? narrow->code : x86::CodeSize::bits64;
    const u64 in_page = page_size - (rip & page_mask);
    bool after_sti = false;
    size_t at = 0;
    d.end_reason = "the code ends here";
    while (at < code.size()) {
        if (d.insns.size() == options.max_instructions) {
            d.end_reason = "as many as a block holds";
            break;
        }
        if (at >= in_page) {
            d.end_reason = "the page ends here";
            break;
        }
        Insn insn;
        const auto status = x86::decode(code.subspan(at), size, insn);
        if (status == x86::DecodeStatus::need_more) {
            d.end_reason = "an incomplete instruction follows";
            break;
        }
        const Treatment treatment =
            status == x86::DecodeStatus::ok ? classify_at(rip + at, insn, mode, narrow) : Treatment::decline;
        const bool crosses = status == x86::DecodeStatus::ok && at + insn.length > in_page;
        if (crosses && !d.insns.empty()) {
            d.end_reason = "the next instruction crosses into the next page: a block of its own";
            break;
        }
        if (treatment == Treatment::decline) {
            d.declined_after = true;
            d.end_reason = "the reference engine executes the next instruction";
            break;
        }
        d.insns.push_back(insn);
        d.rips.push_back(rip + at);
        at += insn.length;
        d.crosses = crosses;
        d.end_reason = "";
        if (crosses || ends_block(insn, treatment) || after_sti) break;
        d.end_reason = "the code ends here";
        after_sti = treatment == Treatment::sti;
    }
    d.end = rip + at;
    return d;
}

class Listing {
public:
    Listing(const Decoded& decoded, const Block& block, const Table<DirectExit>& exits, const u8* code,
            const HostText& text)
        : decoded_(decoded),
          block_(block),
          exits_(exits),
          lines_(text.lines({{{block.begin, block.end}, {block.cold_begin, block.cold_end}}})) {
        HostMapReader reader(code + block.map);
        for (unsigned n = 0; n < block.map_entries; ++n) map_.push_back(reader.next());
    }

    std::string text() {
        summary();
        body();
        entries();
        cold();
        return std::move(out_);
    }

private:
    [[nodiscard]] CodeOffset body_begin() const { return block_.begin + map_.front().host; }
    [[nodiscard]] size_t count(CodeOffset begin, CodeOffset end) const {
        return static_cast<size_t>(std::ranges::count_if(
            lines_, [&](const HostLine& l) { return l.offset >= begin && l.offset < end; }));
    }
    [[nodiscard]] std::string guest_text(size_t i) const {
        const Insn& insn = decoded_.insns[i];
        return x86::disassemble(std::span(insn.bytes).first(insn.length), insn.code, decoded_.rips[i]);
    }
    /// Where guest instruction i's host code begins in the body; block_.end when it shares another's.
    [[nodiscard]] CodeOffset host_of(u64 guest_rip) const {
        for (const HostMapEntry& m : map_)
            if (m.guest == guest_rip - block_.rip && block_.begin + m.host < block_.end)
                return block_.begin + m.host;
        return block_.end;
    }

    void host(CodeOffset begin, CodeOffset end) {
        for (const HostLine& line : lines_) {
            if (line.offset < begin || line.offset >= end) continue;
            note(line.offset);
            out_ += fmt::format("  {:<8}  {}\n", line.label.empty() ? "" : line.label + ":", line.text);
        }
    }

    /// What a reader cannot see from the code: names of entries, targets of exits, guest instructions.
    void note(CodeOffset offset) {
        if (offset < body_begin()) {
            std::string names;
            const auto name = [&](CodeOffset at, const char* text) {
                if (at == offset) names += (names.empty() ? "" : ", ") + std::string(text);
            };
            name(block_.entry_host_full, "host_full");
            name(block_.entry_checked, "checked");
            name(block_.entry_memory, "memory");
            name(block_.entry_forward, "forward");
            name(block_.entry_host, "host");
            if (!names.empty()) out_ += fmt::format("  ; entry {}\n", names);
        }
        if (offset < block_.cold_begin) return;
        for (u32 n = 1; n < exits_.size(); ++n)
            if (exits_[n].stub == offset)
                out_ += fmt::format("  ; exit to {:#x}{}\n", exits_[n].target,
                                    exits_[n].unmerged ? ", every access probing for itself" : "");
        for (const HostMapEntry& m : map_) {
            if (block_.begin + m.host != offset) continue;
            for (size_t i = 0; i < decoded_.rips.size(); ++i)
                if (decoded_.rips[i] - block_.rip == m.guest) out_ += fmt::format("  ; {}\n", guest_text(i));
        }
    }

    void summary() {
        constexpr std::array need{"none", "in memory", "in the host's"};
        out_ += fmt::format("; guest: {} instructions, {} bytes; flags wanted: {}\n", decoded_.insns.size(),
                            block_.guest_bytes, need.at(static_cast<size_t>(block_.need)));
        out_ += fmt::format("; host: {} instructions in the body, {} in all, {} bytes\n",
                            count(body_begin(), block_.end), lines_.size(),
                            block_.end - block_.begin + (block_.cold_end - block_.cold_begin));
    }

    void body() {
        const size_t n = decoded_.insns.size();
        for (size_t i = 0; i < n;) {
            const CodeOffset begin = host_of(decoded_.rips[i]);
            CodeOffset end = block_.end;
            do {
                out_ += fmt::format("{:#x}  {}\n", decoded_.rips[i], guest_text(i));
                ++i;
                end = host_of(i < n ? decoded_.rips[i] : decoded_.end);
            } while (i < n && end == block_.end);
            host(begin, end);
        }
        if (*decoded_.end_reason) out_ += fmt::format("{:#x}  ; {}\n", decoded_.end, decoded_.end_reason);
        host(host_of(decoded_.end), block_.end);
    }

    void entries() {
        out_ += "entries:\n";
        host(block_.begin, body_begin());
        // An entry that is the body's first instruction has no line of its own above.
        if (block_.entry_host == body_begin()) out_ += "  ; entry host: the body\n";
    }

    void cold() {
        if (block_.cold_begin == block_.cold_end) return;
        out_ += "cold paths:\n";
        host(block_.cold_begin, block_.cold_end);
    }

    const Decoded& decoded_;
    const Block& block_;
    const Table<DirectExit>& exits_;
    std::vector<HostLine> lines_;
    std::vector<HostMapEntry> map_;
    std::string out_;
};

}  // namespace

namespace {

NarrowMode listed_mode(x86::CodeSize size) {
    NarrowMode m;
    m.id = 1;
    m.code = size;
    if (size == x86::CodeSize::bits32) {
        m.flat = 1u << x86::es | 1u << x86::ss | 1u << x86::ds;
    } else {
        m.kind = NarrowMode::Kind::real;
        m.stack_bits = 16;
        m.cs_limit = 0xffff;
    }
    return m;
}

}  // namespace

Result<std::string> list_translation(std::span<const u8> code, u64 rip, bool user, x86::CodeSize size) {
    const mmu::TlbMode mode = user ? mmu::TlbMode::user : mmu::TlbMode::supervisor;
    const NarrowMode narrow_mode = listed_mode(size);
    const NarrowMode* const narrow = size == x86::CodeSize::bits64 ? nullptr : &narrow_mode;
    if (narrow && rip > narrow->cs_limit)
        return std::unexpected(Error(
            fmt::format("{:#x} lies beyond the code segment, which ends at {:#x}", rip, narrow->cs_limit)));
    const Decoded decoded = decode_block(code, rip, mode, narrow);
    if (decoded.insns.empty()) return fmt::format("{:#x}  ; {}\n", rip, decoded.end_reason);

    auto arena = mmu::VcpuArena::create(code_bytes);
    if (!arena) return std::unexpected(arena.error());
    mmu::VcpuArena& a = **arena;
    auto& data = *reinterpret_cast<EngineData*>(a.engine_data());
    Emitter emitter(a.writable(a.code()), a.code_bytes());
    // The text must not depend on the host's processor, nor the stubs on where helpers lie.
    Surroundings s{a.context(), a.tlb(), data, {}, true};
    s.stubs = emit_stubs(emitter, s, nullptr, nullptr, nullptr);

    Block block;
    block.id = 1;
    block.rip = block.linear = rip;
    block.mode = mode;
    block.narrow = narrow;
    block.checked = user;
    block.crosses = decoded.crosses;
    block.cookie = 1;
    block.second_cookie = 2;
    TableMemory table_memory;
    Table<DirectExit> exits(table_memory);
    exits.push_back({});
    CompilerScratch scratch;
    CodeOffset cold_at = code_bytes / 2;
    BlockCompiler(emitter, s, block, decoded.insns, exits, Options{}, scratch)
        .compile(decoded.declined_after, cold_at);

    const HostText text(s, a, mode, block.lane());
    return Listing(decoded, block, exits, a.code(), text).text();
}

}  // namespace triune::hypervisor::soft::bt
