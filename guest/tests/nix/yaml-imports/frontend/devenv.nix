{ enterShell = "frontend"; }
