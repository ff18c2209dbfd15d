// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "control/cli.h"

int main(int argc, char** argv) { return triune::control::run_cli(argc, argv); }
