#!/bin/sh
# Process 1 of a playground host: its own view of the machine's folders, its network, its libvirtd.
# usage: host.sh FOLDER NAME ADDRESS RUN MAC   (in new mount, net, uts, ipc and pid namespaces)
set -eu
folder=$1 name=$2 address=$3 run=$4 mac=$5

# Everything is put together below one folder first and then moved into place, relative to the working directory:
# the data folder itself may lie below /run or /var, and nothing is made outside these namespaces.
mount -n -t tmpfs -o mode=0755 tmpfs "$folder/root"
cd "$folder/root"
mount_part() {
  mkdir "$1"
  mount -n -t tmpfs -o mode=0755 tmpfs "$1"
  mkdir "$1/libvirt"
  mount -n --bind "$2" "$1/libvirt"
}
for part in lib cache log; do mount_part $part "$folder/$part"; done
mount_part run "$run"
for part in shared boot; do
  mkdir -p lib/libvirt/$part
  mount -n --bind "$folder/../$part" lib/libvirt/$part
done
mkdir -p run/sshd run/lock own/libvirt own/pki etc
cp "$folder/../names" own/hosts
(umask 077 && sed 's/^root:[^:]*:/root:*:/' /etc/shadow >own/shadow)
# libvirtd asks for the user of its package, sshd for its own; they may not be there on this machine.
add() { cp "/etc/$1" "own/$1"; grep -q "^$2:" "own/$1" || echo "$3" >>"own/$1"; }
add passwd libvirt-qemu "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin"
add group libvirt-qemu "libvirt-qemu:x:64055:"
mount -n -t overlay overlay -o lowerdir=own:/etc etc
mount -n --bind "$folder/etc" etc/libvirt
mount -n --bind "$folder/pki" etc/pki
for part in lib cache log; do mount -nc --move $part /var/$part; done
mount -nc --move etc /etc
mount -nc --move run /run
cd /
mount -n -t proc proc /proc
mount -n -t sysfs sysfs /sys
mount -n -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts /dev/pts
mount -n --bind /dev/pts/ptmx /dev/ptmx
hostname "$name"

ip link set lo up
# The same card after a power cut: the other hosts still know its number.
ip link add br0 address "$mac" type bridge
ip address add "$address/24" dev br0
ip link set br0 up
# The cable to the switch is plugged in from outside.
until ip link set eth0 master br0 up 2>/dev/null; do sleep 0.02; done

libvirtd --daemon --listen --pid-file /run/libvirt/libvirtd.pid
: >/run/libvirt/booted
# Waiting reaps whatever ends here; without process 1 the kernel ends everything else: that is the power cut.
while :; do
  sleep 3600 &
  wait $! || true
done
