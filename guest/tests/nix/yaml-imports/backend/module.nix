{ enterTest = "backend"; }
