// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/uart.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

namespace triune::device {
namespace {

using namespace std::chrono_literals;

struct Line : bus::IrqLine {
    void set(bool l) override {
        level = l;
        if (l) ++edges;
    }
    std::atomic<bool> level = false;
    std::atomic<int> edges = 0;
};

struct Backend : backend::CharBackend {
    void write(std::span<const u8> b) override { out.append(b.begin(), b.end()); }
    void on_input(Input i) override { receiver = std::move(i); }
    void resume_input() override { ++resumes; }
    size_t type(std::string_view s) { return receiver({reinterpret_cast<const u8*>(s.data()), s.size()}); }
    std::string out;
    Input receiver;
    std::atomic<int> resumes = 0;
};

struct UartTest : testing::Test {
    ~UartTest() override { stop_loop(); }
    void start_loop() {
        thread = std::thread([this] { loop->run(); });
    }
    void stop_loop() {
        if (!thread.joinable()) return;
        loop->stop();
        thread.join();
    }
    u8 in(unsigned reg) { return static_cast<u8>(static_cast<bus::RegisterBlock&>(uart).read(reg, 1)); }
    void out(unsigned reg, u8 v) { static_cast<bus::RegisterBlock&>(uart).write(reg, v, 1); }

    std::unique_ptr<base::EventLoop> loop = base::EventLoop::create().value();
    std::thread thread;
    Line irq;
    Backend backend;
    Uart uart{irq, backend, *loop, 0};
};

TEST_F(UartTest, ResetState) {
    EXPECT_EQ(in(1), 0);
    EXPECT_EQ(in(2), 1);
    EXPECT_EQ(in(3), 0);
    EXPECT_EQ(in(4), 0);
    EXPECT_EQ(in(5), 0x60);
    EXPECT_EQ(in(6), 0xb0);
}

TEST_F(UartTest, DetectedAs16550A) {
    // What Linux' autoconfig does: IER nibble, scratch, FIFO bits, loopback.
    out(1, 0x0f);
    EXPECT_EQ(in(1), 0x0f);
    out(1, 0xf0);
    EXPECT_EQ(in(1), 0);
    out(7, 0xa5);
    EXPECT_EQ(in(7), 0xa5);
    out(2, 1);
    EXPECT_EQ(in(2) & 0xc0, 0xc0);
    out(2, 0);
    EXPECT_EQ(in(2) & 0xc0, 0);
    out(4, 0x1a);
    EXPECT_EQ(in(6) & 0xf0, 0x90);
}

TEST_F(UartTest, DivisorLatchHidesDataAndIer) {
    out(3, 0x83);
    out(0, 0x34);
    out(1, 0x12);
    EXPECT_EQ(in(0), 0x34);
    EXPECT_EQ(in(1), 0x12);
    out(3, 3);
    EXPECT_EQ(in(1), 0);
    uart.flush();
    EXPECT_EQ(backend.out, "");
}

TEST_F(UartTest, OutputArrivesAtLineEndFlushOrAfterAMoment) {
    for (const char c : std::string("one\n")) out(0, static_cast<u8>(c));
    EXPECT_EQ(backend.out, "one\n");
    out(0, '$');
    uart.flush();
    EXPECT_EQ(backend.out, "one\n$");
    out(0, ' ');
    start_loop();
    std::this_thread::sleep_for(50ms);
    stop_loop();
    EXPECT_EQ(backend.out, "one\n$ ");
}

TEST_F(UartTest, TransmitInterrupt) {
    out(1, 2);
    EXPECT_TRUE(irq.level) << "enabling it with an empty transmitter raises it";
    EXPECT_EQ(in(2), 2);
    EXPECT_FALSE(irq.level) << "reading IIR takes it back";
    EXPECT_EQ(in(2), 1);
    const int edges = irq.edges;
    out(0, 'x');
    out(0, 'y');
    EXPECT_TRUE(irq.level);
    EXPECT_EQ(irq.edges, edges + 2) << "every byte gives an edge";
    out(1, 0);
    EXPECT_FALSE(irq.level);
}

TEST_F(UartTest, ReceiveWithoutFifo) {
    out(1, 1);
    EXPECT_EQ(backend.type("ab"), 1u) << "the rest stays with the backend";
    EXPECT_TRUE(irq.level);
    EXPECT_EQ(in(2), 4);
    EXPECT_EQ(in(5), 0x61);
    EXPECT_EQ(in(0), 'a');
    EXPECT_EQ(backend.resumes, 1);
    EXPECT_FALSE(irq.level);
    EXPECT_EQ(in(5), 0x60);
    EXPECT_EQ(backend.type("b"), 1u);
    EXPECT_EQ(in(0), 'b');
    EXPECT_EQ(in(0), 0);
}

TEST_F(UartTest, FifoTriggerLevelAndFlowControl) {
    out(2, 0x81);  // 8 bytes
    out(1, 1);
    EXPECT_EQ(backend.type("1234567"), 7u);
    EXPECT_FALSE(irq.level);
    EXPECT_EQ(in(5) & 1, 1);
    backend.type("8");
    EXPECT_TRUE(irq.level);
    EXPECT_EQ(in(2), 0xc4);
    EXPECT_EQ(backend.type("9abcdefghij"), 8u) << "16 in all";
    EXPECT_EQ(backend.resumes, 0);
    std::string got;
    while (in(5) & 1) got += static_cast<char>(in(0));
    EXPECT_EQ(got, "123456789abcdefg");
    EXPECT_EQ(backend.resumes, 1) << "asked once";
    EXPECT_FALSE(in(5) & 2) << "no overrun";
}

TEST_F(UartTest, CharacterTimeout) {
    out(2, 0xc1);  // 14 bytes
    out(1, 1);
    start_loop();
    backend.type("ab");
    for (int i = 0; i < 1000 && !irq.level; ++i) std::this_thread::sleep_for(1ms);
    EXPECT_TRUE(irq.level);
    EXPECT_EQ(in(2), 0xcc);
    EXPECT_EQ(in(0), 'a');
    EXPECT_FALSE(irq.level) << "reading restarts the clock";
    for (int i = 0; i < 1000 && !irq.level; ++i) std::this_thread::sleep_for(1ms);
    EXPECT_TRUE(irq.level);
    EXPECT_EQ(in(0), 'b');
    EXPECT_FALSE(irq.level);
    std::this_thread::sleep_for(5ms);
    EXPECT_FALSE(irq.level) << "nothing is left";
}

TEST_F(UartTest, ClearingFifos) {
    out(1, 1);
    out(2, 1);
    EXPECT_EQ(backend.type("0123456789abcdefXX"), 16u);
    out(2, 3);
    EXPECT_FALSE(in(5) & 1);
    EXPECT_EQ(backend.resumes, 1);
    backend.type("q");
    out(2, 0);
    EXPECT_FALSE(in(5) & 1) << "switching FIFOs off empties them";
}

TEST_F(UartTest, InputWaitsUntilTheGuestListens) {
    EXPECT_EQ(backend.type("early"), 0u);
    // A driver starts up: clears FIFOs, drains the receiver, looks at every status once.
    for (const u8 fcr : {1, 7, 0}) out(2, fcr);
    for (int i = 0; i < 5; ++i)
        for (const unsigned reg : {5, 0, 2, 6}) (void)in(reg);
    EXPECT_EQ(backend.resumes, 0);
    out(1, 5);
    EXPECT_EQ(backend.resumes, 1);
    EXPECT_EQ(backend.type("early"), 1u);
    out(2, 1);  // and then sets its FIFO up
    EXPECT_EQ(backend.resumes, 2);
    EXPECT_EQ(backend.type("arly"), 4u);
    std::string got;
    while (in(5) & 1) got += static_cast<char>(in(0));
    EXPECT_EQ(got, "early");
}

TEST(UartSettling, AProbeThatEnablesEverythingInPassingIsNoListener) {
    auto loop = base::EventLoop::create().value();
    Line irq;
    Backend backend;
    Uart uart(irq, backend, *loop, 20'000'000);
    bus::RegisterBlock& r = uart;
    EXPECT_EQ(backend.type("a"), 0u);
    r.write(1, 0x0f, 1);
    EXPECT_EQ(backend.type("a"), 0u);
    r.write(1, 0, 1);
    std::thread thread([&] { loop->run(); });
    std::this_thread::sleep_for(40ms);
    EXPECT_EQ(backend.resumes, 0);
    r.write(1, 1, 1);
    for (int i = 0; i < 1000 && !backend.resumes; ++i) std::this_thread::sleep_for(1ms);
    EXPECT_EQ(backend.resumes, 1);
    EXPECT_EQ(backend.type("a"), 1u);
    // A driver that listens may write a console line with interrupts off.
    r.write(1, 0, 1);
    EXPECT_EQ(r.read(0, 1), u64{'a'});
    EXPECT_EQ(backend.type("b"), 0u);
    r.write(1, 1, 1);
    EXPECT_EQ(backend.type("b"), 1u);
    loop->stop();
    thread.join();
}

TEST_F(UartTest, PollingCountsAsListening) {
    EXPECT_EQ(backend.type("x"), 0u);
    for (int i = 0; i < 100; ++i) {  // a console that sends
        (void)in(5);
        out(0, '.');
    }
    EXPECT_EQ(backend.resumes, 0);
    for (int i = 0; i < 100; ++i) (void)in(5);
    EXPECT_EQ(backend.resumes, 1);
    EXPECT_EQ(backend.type("x"), 1u);
    EXPECT_EQ(in(0), 'x');
}

TEST_F(UartTest, LoopbackOverrunAndLineStatus) {
    out(4, 0x10);
    out(1, 4);
    out(0, 'a');
    EXPECT_FALSE(irq.level);
    out(0, 'b');
    EXPECT_TRUE(irq.level);
    EXPECT_EQ(in(2), 6);
    EXPECT_EQ(in(5), 0x63);
    EXPECT_FALSE(irq.level);
    EXPECT_EQ(in(5), 0x61);
    EXPECT_EQ(in(0), 'b') << "the register is overwritten";
    // With FIFOs the newest is lost.
    out(2, 1);
    for (char c = 'a'; c < 'a' + 17; ++c) out(0, static_cast<u8>(c));
    EXPECT_EQ(in(5) & 3, 3);
    std::string got;
    while (in(5) & 1) got += static_cast<char>(in(0));
    EXPECT_EQ(got, "abcdefghijklmnop");
    uart.flush();
    EXPECT_EQ(backend.out, "") << "nothing reaches the line";
}

TEST_F(UartTest, LoopbackHoldsBackRealInput) {
    out(1, 1);
    out(4, 0x10);
    EXPECT_EQ(backend.type("x"), 0u);
    EXPECT_FALSE(in(5) & 1);
    out(4, 0);
    EXPECT_EQ(backend.resumes, 1);
    EXPECT_EQ(backend.type("x"), 1u);
}

TEST_F(UartTest, ModemStatus) {
    out(4, 0x10);
    EXPECT_EQ(in(6), 0x0b) << "CTS, DSR and DCD fell";
    EXPECT_EQ(in(6), 0x00);
    out(1, 8);
    out(4, 0x12);  // RTS
    EXPECT_TRUE(irq.level);
    EXPECT_EQ(in(2), 0);
    EXPECT_EQ(in(6), 0x11);
    EXPECT_FALSE(irq.level);
    out(4, 0x16);  // OUT1: ring, leading edge
    EXPECT_EQ(in(6), 0x50);
    out(4, 0x12);
    EXPECT_EQ(in(6), 0x14) << "trailing edge of ring";
}

TEST_F(UartTest, InterruptPriority) {
    out(4, 0x10);
    out(1, 0x0f);
    out(0, 'a');
    out(0, 'b');
    EXPECT_EQ(in(2), 6);
    in(5);
    EXPECT_EQ(in(2), 4);
    in(0);
    EXPECT_EQ(in(2), 2);
    EXPECT_EQ(in(2), 0);
    in(6);
    EXPECT_EQ(in(2), 1);
}

TEST_F(UartTest, WideAccessesAreByteAccesses) {
    bus::RegisterBlock& r = uart;
    r.write(0, 0x0361, 2);  // THR, IER
    uart.flush();
    EXPECT_EQ(backend.out, "a");
    EXPECT_EQ(in(1), 3);
}

TEST_F(UartTest, ResetForgets) {
    out(2, 1);
    out(1, 1);
    backend.type("0123456789abcdefXX");
    EXPECT_TRUE(irq.level);
    uart.reset();
    EXPECT_FALSE(irq.level);
    EXPECT_EQ(in(5), 0x60);
    EXPECT_EQ(in(1), 0);
    EXPECT_EQ(backend.resumes, 0) << "the rest waits for a listener";
}

}  // namespace
}  // namespace triune::device
