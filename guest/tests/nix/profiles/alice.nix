{ env.LEVEL = "user"; env.USER_NAME = "alice"; }
