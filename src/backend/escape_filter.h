// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/types.h"

namespace triune::backend {

/// Takes Ctrl-A commands out of what a person types. Keeps its state between calls.
class EscapeFilter {
public:
    struct Commands {
        std::function<void()> quit, switch_engine, help;
    };
    explicit EscapeFilter(Commands commands) : commands_(std::move(commands)) {}

    std::vector<u8> operator()(std::span<const u8> typed) {
        std::vector<u8> out;
        for (const u8 c : typed) {
            if (!escaped_) {
                if (c == ctrl_a)
                    escaped_ = true;
                else
                    out.push_back(c);
                continue;
            }
            escaped_ = false;
            switch (c) {
                case ctrl_a: out.push_back(ctrl_a); break;
                case 'x':
                    if (commands_.quit) commands_.quit();
                    break;
                case 'e':
                    if (commands_.switch_engine) commands_.switch_engine();
                    break;
                case 'h':
                case '?':
                    if (commands_.help) commands_.help();
                    break;
                default: break;  // an unknown command is dropped whole
            }
        }
        return out;
    }

private:
    static constexpr u8 ctrl_a = 1;
    Commands commands_;
    bool escaped_ = false;
};

}  // namespace triune::backend
