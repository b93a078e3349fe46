"""A virtual machine as KVM sees it: what it filters, what it intercepts."""
