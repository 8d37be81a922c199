{ config, ... }:
{
  env.A = config.env.B;
  env.B = config.env.A;
}
