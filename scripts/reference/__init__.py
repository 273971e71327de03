"""What the docs say of settings, exit codes, image keys and options, made from the declarations in the code."""
