{
  git-hooks.hooks.spelling = {
    enable = true;
    entry = "check-spelling";
    files = "\\.md$";
    pass_filenames = false;
  };
  pre-commit.hooks.older-name = { enable = true; entry = "true"; };
  git-hooks.hooks.off.entry = "false";
}
