// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A little AML assembler: as much of the ACPI machine language (ACPI 6.4, 20) and of resource
/// descriptors (6.4) as a PC's DSDT needs. Every function returns encoded bytes; a term is the
/// concatenation of its parts.
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace triune::boot::aml {

using Bytes = std::vector<u8>;

/// The parts one after the other.
Bytes join(std::initializer_list<Bytes> parts);

/// A path such as "\\_SB_" or "PCI0": segments of four characters separated by dots.
Bytes path(std::string_view text);
/// The shortest encoding of a constant.
Bytes integer(u64 value);
/// "PNP0A03" as the compressed integer that _HID holds.
Bytes eisa_id(std::string_view id);
/// At most 255 elements.
Bytes package(std::span<const Bytes> elements);
Bytes package(std::initializer_list<Bytes> elements);
Bytes buffer(const Bytes& content);

Bytes name(std::string_view name, const Bytes& object);
Bytes scope(std::string_view name, const Bytes& body);
Bytes device(std::string_view name, const Bytes& body);

/// A buffer of resource descriptors, with its end tag.
Bytes resources(std::initializer_list<Bytes> descriptors);
/// `count` ports at a fixed place, at most 255.
Bytes io_ports(u16 first, u8 count);
/// An ISA interrupt: edge, active high, exclusive.
Bytes isa_irq(unsigned irq);
/// Windows that a bridge passes on, both ends inclusive.
Bytes bus_numbers(u16 first, u16 last);
Bytes io_window(u16 first, u16 last);
Bytes memory_window(u32 first, u32 last);

}  // namespace triune::boot::aml
