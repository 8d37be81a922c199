{ env.LOCAL = "local"; }
