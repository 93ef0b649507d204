"""Request bodies to work messages: in place where that is quick, in other processes where it is not."""
