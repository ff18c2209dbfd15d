// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/trace.h"

#include <gtest/gtest.h>

#include "machine/wiring.h"

namespace triune::machine {
namespace {

TEST(Trace, ParsesKnownEvents) {
    const auto trace = Trace::parse("port,msi");
    ASSERT_TRUE(trace);
    EXPECT_TRUE(trace->on(Trace::Event::port));
    EXPECT_TRUE(trace->on(Trace::Event::msi));
    EXPECT_FALSE(trace->on(Trace::Event::mmio));
    EXPECT_FALSE(Trace::parse("")->any());
}

TEST(Trace, RefusesUnknownEventsByName) {
    for (const char* list : {"nonsense", "port,nonsense", "nonsense,port"}) {
        const auto trace = Trace::parse(list);
        ASSERT_FALSE(trace) << list;
        EXPECT_TRUE(trace.error().usage);
        EXPECT_NE(trace.error().message.find("'nonsense'"), std::string::npos);
    }
    EXPECT_FALSE(Trace::parse(",port"));
}

TEST(Trace, AccessesPassThroughAndAreWritten) {
    struct Register final : bus::RegisterBlock {
        u64 read(u64, unsigned) override { return value; }
        void write(u64, u64 v, unsigned) override { value = v; }
        u64 value = 0;
    } device;
    MappedIo io;
    ASSERT_TRUE(io.ports.add(0x80, 4, device));
    const Trace trace = *Trace::parse("port");
    TracedIo traced(io, trace);
    testing::internal::CaptureStderr();
    traced.port_write(0x80, 0xab, 1);
    EXPECT_EQ(traced.port_read(0x80, 1), 0xabu);
    EXPECT_EQ(traced.mmio_read(0xfe000000, 4), 0xffffffffu);
    const std::string text = testing::internal::GetCapturedStderr();
    EXPECT_NE(text.find("port 0x0080 <- 0xab"), std::string::npos) << text;
    EXPECT_NE(text.find("port 0x0080 -> 0xab"), std::string::npos) << text;
    EXPECT_EQ(text.find("mmio"), std::string::npos) << text;
}

}  // namespace
}  // namespace triune::machine
