# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Runs in the guest as /autorun and, in a chroot, on the host. The host takes the time between the
# lines "@begin NAME" and "@end NAME", so no guest clock is trusted.
b=/bin/busybox
seq 1 1200000 >/tmp/text
$b head -c 67108864 /dev/zero >/tmp/zeros

echo "@begin shell-loop"
i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done
echo "@end shell-loop"

echo "@begin sha256sum-64M"
$b sha256sum /tmp/zeros >/dev/null
echo "@end sha256sum-64M"

echo "@begin gzip-8M"
$b gzip -c /tmp/text >/dev/null
echo "@end gzip-8M"

echo "@begin dd-bs1-200000"
$b dd if=/dev/zero of=/dev/null bs=1 count=200000 2>/dev/null
echo "@end dd-bs1-200000"

echo "@begin fork-exec-500"
i=0; while [ $i -lt 500 ]; do $b true; i=$((i + 1)); done
echo "@end fork-exec-500"

/bin/micro
rm -f /tmp/text /tmp/zeros
echo "@done"
