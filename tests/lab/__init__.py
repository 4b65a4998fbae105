"""The real hosts: two libvirt/QEMU hosts of the playground, for every test that asks for `lab`."""
