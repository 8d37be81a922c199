{
  profiles.release.module = { };
}
