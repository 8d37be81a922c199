{
  cloud = "4gb";
}
