// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/App.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace triune::control {

inline constexpr std::string_view completion_shells[] = {"bash", "zsh", "fish"};

/// A completion script for `shell`, made from what `app` declares, so that it cannot fall
/// behind the options. Empty for an unknown shell.
std::optional<std::string> completion_script(const CLI::App& app, std::string_view shell);

}  // namespace triune::control
