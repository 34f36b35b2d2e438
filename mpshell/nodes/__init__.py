"""The syntax of node sets: parsing, folding, the text of ranges (`mpshell.nodeset`, `mpshell.rangeset`)."""
