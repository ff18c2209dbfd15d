// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/debug_ports.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace triune::device {
namespace {

TEST(IsaDebugExit, TellsTheValueOfAnyWidthOnce) {
    std::vector<u32> told;
    IsaDebugExit device([&](u32 v) { told.push_back(v); });
    bus::AddressMap ports;
    ASSERT_TRUE(ports.add(0xf4, 4, device));
    ports.write(0xf4, 0x10, 1);
    ports.write(0xf4, 0x1234, 2);
    ports.write(0xf4, 0xdead'beef, 4);
    EXPECT_EQ(told, (std::vector<u32>{0x10, 0x1234, 0xdead'beef}));
    EXPECT_EQ(ports.read(0xf4, 4), 0u);
}

struct Sink : backend::CharBackend {
    void write(std::span<const u8> bytes) override {
        const std::scoped_lock lock(mutex);
        text.append(bytes.begin(), bytes.end());
        ++calls;
    }
    void on_input(Input) override {}
    void resume_input() override {}
    std::string now() {
        const std::scoped_lock lock(mutex);
        return text;
    }
    std::mutex mutex;
    std::string text;
    int calls = 0;
};

struct DebugConsoleTest : testing::Test {
    void print(std::string_view s) {
        for (const char c : s) ports.write(0xe9, static_cast<u8>(c), 1);
    }
    std::unique_ptr<base::EventLoop> loop = base::EventLoop::create().value();
    Sink sink;
    bus::AddressMap ports;
};

TEST_F(DebugConsoleTest, LinesGoOutWholeAndTheRestAtTheEnd) {
    {
        DebugConsole console(sink, *loop);
        ASSERT_TRUE(ports.add(0xe9, 1, console));
        EXPECT_EQ(ports.read(0xe9, 1), 0xe9u);
        EXPECT_EQ(ports.read(0xe9, 2), 0xffe9u) << "the next port is nobody's";
        print("hello\nwor");
        EXPECT_EQ(sink.text, "hello\n");
        EXPECT_EQ(sink.calls, 1);
        ports.write(0xe9, 'x' << 8 | 'l', 2);
        print("d");
        EXPECT_EQ(sink.text, "hello\n");
    }
    EXPECT_EQ(sink.text, "hello\nworld") << "a wide write reaches the port with its low byte only";
}

TEST_F(DebugConsoleTest, APromptComesOutWithoutALineEnd) {
    std::thread runner([&] { loop->run(); });
    {
        DebugConsole console(sink, *loop);
        ASSERT_TRUE(ports.add(0xe9, 1, console));
        print("> ");
        for (int i = 0; i < 1000 && sink.now().empty(); ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        EXPECT_EQ(sink.now(), "> ");
    }
    loop->stop();
    runner.join();
}

TEST_F(DebugConsoleTest, MuchWithoutLineEndsGoesOutInPieces) {
    DebugConsole console(sink, *loop);
    ASSERT_TRUE(ports.add(0xe9, 1, console));
    print(std::string(10000, 'a'));
    EXPECT_EQ(sink.text.size(), 8192u);
    EXPECT_EQ(sink.calls, 2);
}

}  // namespace
}  // namespace triune::device
