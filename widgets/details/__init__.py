"""What a tab shows of one object: a VM, a host, a site."""
