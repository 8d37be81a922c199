{
  outputs.number = 3;
}
