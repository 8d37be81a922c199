{ name = "local"; }
