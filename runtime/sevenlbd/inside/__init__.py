"""The inner side of the wall: everything that the guest can talk to, in namespaces with no way out."""
